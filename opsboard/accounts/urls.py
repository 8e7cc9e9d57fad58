"""Sign-in, second factor, sessions and the own profile.

Only the allauth pages the product has are wired: accounts are made by administrators, so there is no sign-
up, no change of address and no e-mail confirmation, and what is not wired cannot be reached.
"""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.totp import views as totp
from allauth.usersessions import views as sessions
from django.urls import path, re_path

from opsboard.accounts import views
from opsboard.accounts.access import SIGNED_IN, required

mine = required(SIGNED_IN)

urlpatterns = [
    # For visitors: the explicit public list of tests/test_access_matrix.py.
    path("account/login/", account.login, name="account_login"),
    path("account/logout/", account.logout, name="account_logout"),
    path("account/inactive/", account.account_inactive, name="account_inactive"),
    path("account/password/reset/", account.password_reset, name="account_reset_password"),
    path("account/password/reset/done/", account.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^account/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "account/password/reset/key/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path("account/second-factor/authenticate/", mfa.authenticate, name="mfa_authenticate"),
    # For whoever is signed in.
    path("profile/", views.profile, name="profile"),
    path("account/reauthenticate/", mine(account.reauthenticate), name="account_reauthenticate"),
    path("account/password/change/", mine(account.password_change), name="account_change_password"),
    path("account/password/set/", mine(account.password_set), name="account_set_password"),
    path("account/second-factor/", mine(mfa.index), name="mfa_index"),
    path("account/second-factor/reauthenticate/", mine(mfa.reauthenticate), name="mfa_reauthenticate"),
    path("account/second-factor/activate/", mine(totp.activate_totp), name="mfa_activate_totp"),
    path("account/second-factor/deactivate/", mine(totp.deactivate_totp), name="mfa_deactivate_totp"),
    path("account/second-factor/codes/", mine(recovery.view_recovery_codes), name="mfa_view_recovery_codes"),
    path(
        "account/second-factor/codes/generate/",
        mine(recovery.generate_recovery_codes),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "account/second-factor/codes/download/",
        mine(recovery.download_recovery_codes),
        name="mfa_download_recovery_codes",
    ),
    path("account/sessions/", mine(sessions.list_usersessions), name="usersessions_list"),
]
