"""The commands on signing keys: `restauth key …`.

Rule: a secret is never printed. These commands need no database.
"""

from restauth.cli.command import Arguments, Commands, add_command, add_group, load_settings
from restauth.cli.output import print_table
from restauth.core import rfc3339
from restauth.core.keyring import ALGORITHMS, Key, KeyRing
from restauth.services import build_keys
from restauth.web import representations


def add_commands(commands: Commands) -> None:
    """Declare the group."""
    key = add_group(commands, "key", "list, make, rotate and prune signing keys")
    add_command(key, "list", _list, "list the keys of the key ring", json=True)
    create = add_command(key, "create", _create, "make a key ring, with a key that signs")
    create.add_argument("--algorithm", choices=ALGORITHMS, default="HS256", help="of the key")
    add = add_command(key, "add", _add, "publish a key, which verifies but does not sign yet")
    add.add_argument("--algorithm", choices=ALGORITHMS, help="of the key; else that in use")
    add_command(key, "activate", _activate, "sign with a published key from now on", "KID")
    rotate = add_command(key, "rotate", _rotate, "sign with a new key from now on")
    rotate.add_argument(
        "--algorithm", choices=ALGORITHMS, help="of the new key; else that of the key before"
    )
    rotate.add_argument(
        "--revoke", action="store_true", help="refuse the tokens of all other keys at once"
    )
    add_command(key, "prune", _prune, "drop the retired keys whose last token has expired")


def _list(arguments: Arguments) -> int:
    _print_ring(build_keys(load_settings()).ring, is_json=arguments.json)
    return 0


def _create(arguments: Arguments) -> int:
    _print_ring(build_keys(load_settings()).create(arguments.algorithm))
    return 0


def _add(arguments: Arguments) -> int:
    _print_ring(build_keys(load_settings()).add(arguments.algorithm))
    return 0


def _activate(arguments: Arguments) -> int:
    _print_ring(build_keys(load_settings()).activate(arguments.kid))
    return 0


def _rotate(arguments: Arguments) -> int:
    keys = build_keys(load_settings())
    _print_ring(keys.rotate(revoke=arguments.revoke, algorithm=arguments.algorithm))
    return 0


def _prune(arguments: Arguments) -> int:
    _print_ring(build_keys(load_settings()).prune())
    return 0


def _print_ring(ring: KeyRing, *, is_json: bool = False) -> None:
    print_table(
        is_json,
        ("kid", "algorithm", "created_at", "retired_at", "state"),
        (
            (
                key.kid,
                key.algorithm,
                rfc3339.build(key.created_at),
                representations.time(key.retired_at),
                _state(ring, key),
            )
            for key in ring.keys
        ),
    )


def _state(ring: KeyRing, key: Key) -> str:
    if key is ring.signing_key:
        return "signing"
    return "published" if key.retired_at is None else "retired"
