"""A `Service`: the WSGI app, guards for other apps, and the Python API.

Rule: this file only connects: it decides nothing. All services of a process on one database share
its store, the credential cache and the hash limiter; services on two databases share neither store
nor caches.
"""

import logging
import os
from collections.abc import Iterable
from typing import Self, Unpack
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from restauth import settings
from restauth.core import authorization, peers
from restauth.errors import BadCredentials, UnknownUser
from restauth.records import OPERATOR, Account, Client, IssuedKey, IssuedTokens, User
from restauth.services import Services, build_stateless, start_services
from restauth.settings import Settings, SettingsKeywords
from restauth.web.app import App
from restauth.web.guard_rules import parse_guard_rules
from restauth.web.middleware import Guard
from restauth.web.routes import metrics_routes

_log = logging.getLogger("restauth")


class Service:
    """A restauth service. Threads may share it.

    Settings come from the keywords, else from the environment (`RESTAUTH_<NAME>`), else from the
    defaults; `restauth settings` lists them. The database and the key ring are made when there are
    none. Raises InvalidSetting, UnusableStore, UnusableKeyRing, UnusableFile, StoreUnavailable.

    Every method that reads or writes users may raise StoreUnavailable. The audit log names the
    operator for every change, and `peer` for a login by `verify`.

        service = Service(database="users.db")
        user = service.find_user("ada")
        if user is None:  # at the first start
            user = service.add_user("ada", "correct horse battery staple", roles=["editor"])
        application = service.guard(my_wsgi_app, required=True)
    """

    def __init__(self, **keywords: Unpack[SettingsKeywords]) -> None:
        services = start_services(settings.load(os.environ, keywords))
        _warn_of_new(services)
        if settings.is_address(services.settings.metrics):
            _log.warning("metrics is an address: only `restauth serve` listens there")
        self._use(services)

    def _use(self, services: Services) -> None:
        self._services = services
        self._app = App(services)
        if services.settings.password_policy == "open":
            _log.warning("password_policy is open: any password is accepted")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; a later call opens them again. Other services of this process on the
        same database can go on."""
        self._services.close()

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._services.settings

    @property
    def app(self) -> App:
        """The WSGI app with all routes of restauth."""
        return self._app

    @property
    def metrics_app(self) -> App:
        """A WSGI app with the route /metrics alone, open to anyone who can reach it."""
        return App(self._services, metrics_routes())

    def guard(
        self,
        app: WSGIApplication,
        *,
        required: bool | str = False,
        role: str | None = None,
        exempt: str | Iterable[str] = (),
        stateless: bool | str = False,
    ) -> Guard:
        """The app, guarded. The arguments are those of `AuthMiddleware`. Raises InvalidSetting,
        UnusableKeyRing."""
        rules = parse_guard_rules(app, required, role, exempt)
        if settings.read_flag("stateless", stateless):
            identification = build_stateless(self.settings, self._services.clock)
            return Guard(app, identification.identify, rules, self.settings)
        return Guard(app, self._services.identification.identify, rules, self.settings)

    def add_user(self, username: str, password: str, *, roles: Iterable[str] = ()) -> Account:
        """Add a user. Raises UsernameTaken, UnacceptableUsername, UnacceptablePassword,
        UnacceptableRoles, Busy."""
        return self._services.accounts.register(username, password, roles=roles)

    def find_user(self, user: str | int) -> Account | None:
        """The account with that name (in any spelling of it) or that id. None if there is none."""
        accounts = self._services.accounts
        try:
            return accounts.find_by_name(user) if isinstance(user, str) else accounts.find(user)
        except UnknownUser:
            return None

    def set_roles(self, user_id: int, roles: Iterable[str]) -> tuple[str, ...]:
        """Give the user exactly these roles. Returns them in alphabetical order. Raises
        UnknownUser, UnacceptableRoles."""
        return self._services.accounts.set_roles(self._find(user_id), roles)

    def set_password(self, user_id: int, password: str) -> None:
        """Set a new password; all sessions of the user end. Raises UnknownUser,
        UnacceptablePassword, Busy."""
        self._services.accounts.set_password(self._find(user_id), password)

    def lock(self, user_id: int) -> None:
        """Refuse every credential of the user; all sessions and API keys end. Raises
        UnknownUser."""
        self._services.accounts.lock(self._find(user_id))

    def unlock(self, user_id: int) -> None:
        """Accept the password again. Raises UnknownUser."""
        self._services.accounts.unlock(self._find(user_id))

    def delete(self, user_id: int) -> None:
        """Delete the user and all that belongs to it. Raises UnknownUser."""
        self._services.accounts.delete(self._find(user_id))

    def issue_token(self, user_id: int) -> IssuedTokens:
        """An access token for the user, without a password: it begins a session, as GET /api/token
        does. Raises UnknownUser, and BadCredentials when the account is locked."""
        return self._services.sessions.issue(self._find(user_id), OPERATOR)

    def issue_key(
        self,
        user_id: int,
        name: str,
        *,
        roles: Iterable[str] | None = None,
        expires_in: int | None = None,
    ) -> IssuedKey:
        """An API key for the user, without a password. `roles` are some of the user's, None for all
        of them, now and later; `expires_in` is in seconds, None for a key that never expires. Its
        `text` is stored nowhere. Raises UnknownUser, UnacceptableKey, TooManyKeys, and
        BadCredentials when the account is locked."""
        account = self._find(user_id)
        return self._services.api_keys.make(account, name, roles=roles, expires_in=expires_in)

    def end_keys(self, user_id: int) -> int:
        """End all API keys of the user. The number of them. Raises UnknownUser."""
        return self._services.api_keys.end_all(self._find(user_id).id)

    def verify(self, authorization_header: str | None, *, peer: str = "") -> User | None:
        """The user of an Authorization header; None when it is missing, empty or of another scheme
        than Basic and Bearer.

        `peer` is the network address of the client, which the throttle counts. Raises
        BadCredentials, Throttled, Busy.
        """
        text = "" if authorization_header is None else authorization_header
        if not isinstance(text, str) or not isinstance(peer, str):
            raise BadCredentials
        claim = authorization.parse(text, authorization.scheme_of(text)) if text else None
        caller = self._services.identification.identify(claim, Client(peers.show(peer)))
        return caller.user if caller else None

    def _find(self, user_id: int) -> Account:
        return self._services.accounts.find(user_id)


def create_app(**keywords: Unpack[SettingsKeywords]) -> App:
    """The WSGI app of a `Service` with these settings. Raises as `Service`.

    For servers that call a factory: `waitress-serve --call restauth:create_app`.
    """
    return Service(**keywords).app


def _warn_of_new(services: Services) -> None:
    if services.is_new:  # perhaps in the wrong directory
        _log.warning("%s", services.describe_new())


class AuthMiddleware:
    """Any WSGI app, guarded: `environ["restauth.user"]` is a verified `User`, or None.

    required: a request without credentials is 401, and the app is not called. Without it, such a
        request is anonymous. Wrong credentials are 401 in every case.
    role: 403 without this role, 401 without a credential.
    exempt: paths of the app that are open to anyone, as a list or as comma-separated text. They are
        compared by whole segments: "/static" opens /static and all below it; "/" is the front page
        alone.
    stateless: tokens are verified by the key ring (or a public JWK Set) alone, and no database is
        opened: tokens are valid until they expire, and no password and no API key is accepted.

    The flags may also be the texts `true` and `false`. The other keywords are settings, as for
    `Service`. Raises InvalidSetting, UnusableStore, UnusableKeyRing, UnusableFile,
    StoreUnavailable.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        required: bool | str = False,
        role: str | None = None,
        exempt: str | Iterable[str] = (),
        stateless: bool | str = False,
        **keywords: Unpack[SettingsKeywords],
    ) -> None:
        loaded = settings.load(os.environ, keywords)
        rules = parse_guard_rules(app, required, role, exempt)
        if settings.read_flag("stateless", stateless):
            verify = build_stateless(loaded).identify
        else:
            services = start_services(loaded)
            _warn_of_new(services)
            verify = services.identification.identify
        self._guard = Guard(app, verify, rules, loaded)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._guard(environ, start_response)
