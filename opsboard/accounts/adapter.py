"""How allauth behaves here: no sign-up, secrets encrypted at rest, a security log of sign-ins and failures.

The security log says who, what and from where; it never holds a password, a code or a token.
"""

from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import qrcode
import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.http import HttpRequest
from django.urls import reverse
from qrcode.image.svg import SvgPathFillImage

from opsboard.accounts.models import User
from opsboard.accounts.roles import MFA_ROLES

log = structlog.get_logger("opsboard.security")


class Adapter(DefaultAccountAdapter):
    """Accounts are made by administrators; people only sign in, change their password and sign out."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Never: an account gives access to a firm's invoices."""
        return False

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        """Back to the profile, where the way to change it was."""
        return reverse("profile")

    def login(self, request: HttpRequest, user: AbstractBaseUser) -> None:
        """Sign the person in and say so in the security log."""
        super().login(request, user)
        log.info("signed_in", user_id=user.pk, ip=self.get_client_ip(request))

    def logout(self, request: HttpRequest) -> None:
        """Sign the person out and say so in the security log."""
        user_id, ip = request.user.pk, self.get_client_ip(request)
        super().logout(request)
        log.info("signed_out", user_id=user_id, ip=ip)

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        """Note a wrong password: the address as typed, never the password."""
        address = str(credentials.get("email") or credentials.get("username") or "")[:254]
        log.warning("sign_in_failed", email=address, ip=self.get_client_ip(request))


class MfaAdapter(DefaultMFAAdapter):
    """Second-factor secrets, encrypted under a key made from SECRET_KEY: a database dump lacks them."""

    def encrypt(self, text: str) -> str:
        """The text under today's key."""
        return _vault().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """The text again, also when it was encrypted under one of SECRET_KEY_FALLBACKS."""
        return _vault().decrypt(encrypted_text.encode()).decode()

    def build_totp_svg(self, url: str) -> str:
        """The QR code on a white ground of its own: phones cannot read black on a dark page."""
        return qrcode.make(url, image_factory=SvgPathFillImage).to_string(encoding="unicode")

    def can_delete_authenticator(self, authenticator: Authenticator) -> bool:
        """Who must have a second factor cannot switch it off."""
        user = authenticator.user
        return not (settings.OPSBOARD_REQUIRE_MFA and isinstance(user, User) and user.role in MFA_ROLES)


def _vault() -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    derived = [sha256(b"opsboard second factor:" + key.encode()).digest() for key in keys]
    return MultiFernet([Fernet(urlsafe_b64encode(key)) for key in derived])
