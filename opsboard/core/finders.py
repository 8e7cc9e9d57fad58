"""Static files that come inside installed packages, and the storage that names, compresses and serves them."""

from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.resources import files
from typing import Any

import brotli
from django.conf import settings
from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage
from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage

BROTLI_BEST_LIMIT = 512 * 1024  # bytes; above it the best quality takes seconds and gains a few per cent


class PackageAssetFinder(BaseFinder):
    """Finds the files named in settings.PACKAGE_ASSETS: {prefix: (package, folder inside it, name patterns)}.

    Only what is on the list is published: a package's other files never become addresses.
    """

    def __init__(self, app_names: Any = None, *args: Any, **kwargs: Any) -> None:
        self.mounts: list[tuple[str, FileSystemStorage, list[str]]] = []
        for prefix, (package, folder, patterns) in settings.PACKAGE_ASSETS.items():
            storage = FileSystemStorage(location=str(files(package).joinpath(folder)))
            storage.prefix = prefix  # type: ignore[attr-defined]  # collectstatic reads it: files land below it
            self.mounts.append((prefix, storage, patterns))

    def check(self, **kwargs: Any) -> list[Any]:
        """Nothing to check before start: a missing package fails at import."""
        return []

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        """The file's place on disk (a list of them with `find_all`), or an empty list."""
        for prefix, storage, patterns in self.mounts:
            name = path.removeprefix(prefix + "/")
            if name != path and any(fnmatch(name, pattern) for pattern in patterns) and storage.exists(name):
                return [storage.path(name)] if find_all else storage.path(name)
        return []

    def list(self, ignore_patterns: Any) -> Iterator[tuple[str, FileSystemStorage]]:
        """Every published file as (name inside its folder, storage)."""
        for _, storage, patterns in self.mounts:
            for name in storage.listdir("")[1]:
                if any(fnmatch(name, pattern) for pattern in patterns):
                    yield name, storage


class QuickCompressor(Compressor):
    """Brotli at best quality for small files and a quick one for large ones, so that a first start stays short."""

    @staticmethod
    def compress_brotli(data: bytes) -> bytes:
        """The compressed bytes."""
        return brotli.compress(data, quality=11 if len(data) < BROTLI_BEST_LIMIT else 5)


class HashedStorage(CompressedManifestStaticFilesStorage):
    """Names carry a digest of the content, so browsers keep them for ever.

    Before the first collectstatic (tests, a development server) there is no manifest: the plain name is used.
    """

    manifest_strict = False

    def create_compressor(self, **kwargs: Any) -> Compressor:
        """The compressor collectstatic uses."""
        return QuickCompressor(**kwargs)

    def stored_name(self, name: str) -> str:
        """The hashed name from the manifest, else the name itself."""
        return super().stored_name(name) if self.hashed_files else name

    def _url(self, hashed_name_func: Any, name: str, force: bool = False, hashed_files: Any = None) -> str:
        """The address; without a manifest nothing is looked up on disk."""
        if not self.hashed_files and hashed_files is None:
            return FileSystemStorage.url(self, name)
        return super()._url(hashed_name_func, name, force, hashed_files)
