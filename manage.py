#!/usr/bin/env python
"""Django's command line, and the way to start opsboard: `manage.py up`."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "opsboard.settings")
    execute_from_command_line(sys.argv)
