"""The PostgreSQL database: connect, recognise it as ours, bring its schema up to date, check it.

Rule: tables of another program are never changed, and neither are those that are newer than this
code. Everything here happens at a start or in `restauth check`, never during a request. No message
shows a password.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from restauth.errors import StoreUnavailable, UnusableStore
from restauth.records import Finding
from restauth.settings import without_secret
from restauth.storage.engine import Row
from restauth.storage.schema import MIGRATIONS, ROLES_OF_ALL, TABLES

try:
    import psycopg
    from psycopg.conninfo import conninfo_to_dict
except ImportError:
    raise UnusableStore(
        "A PostgreSQL database needs the library psycopg: pip install '.[postgres]' in the copy of "
        "the source."
    ) from None

OPENING_TIMEOUT = 30  # seconds that a start waits: another process may be migrating the tables
OLDEST = 14  # the first version that says by itself when it becomes a standby

Connection = psycopg.Connection[Row]
Identity = tuple[str, str, int]  # of the tables, name of the schema, number of the database

_LOCK = 0x72657374  # of the migrations: "rest"

# AUTOINCREMENT gives no number twice, not even after an import has added a row with a number of its
# own; the counter of PostgreSQL does not look at such rows. No other row is added between the look
# and the change.
_COUNT_ON = (
    """
    CREATE FUNCTION restauth_count_on() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        counter regclass := pg_get_serial_sequence('users', 'id');
    BEGIN
        IF NEW.id > coalesce(pg_sequence_last_value(counter), 0) THEN
            LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE;
            PERFORM setval(counter, greatest(NEW.id, pg_sequence_last_value(counter)));
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER count_on BEFORE INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION restauth_count_on()
    """,
)


def parameters_of(url: str) -> dict[str, Any]:
    """What the driver needs to connect; what the URL says itself has precedence. Raises
    UnusableStore."""
    try:
        given = conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeError):  # its text may contain the password
        raise UnusableStore("The URL of the database cannot be read.") from None
    return {
        "application_name": "restauth",
        "connect_timeout": 2,  # seconds, for each server; the driver takes no less
        "keepalives_idle": 60,  # seconds; some networks forget connections that are silent
        "target_session_attrs": "read-write",  # of several servers, the primary
        **given,
        "client_encoding": "UTF8",
        "autocommit": True,
    }


def prepare(connection: Connection, *, create: bool) -> Identity:
    """Refuse the database if it is not ours, make the tables if asked and needed, and migrate them.

    Raises UnusableStore, psycopg.Error.
    """
    _refuse_unsuitable(connection)
    version = _version(connection)
    if not version and not create:
        raise UnusableStore(
            f"There are no tables of restauth in {_place(connection)}: set RESTAUTH_DATABASE to "
            "that of the service, or make them: restauth serve, or restauth user add --create."
        )
    if version < len(MIGRATIONS):
        _migrate(connection)
    rows = connection.execute(
        "SELECT id, current_schema(), oid::bigint FROM restauth_schema, pg_database "
        "WHERE datname = current_database()"
    )
    (identity,) = rows.fetchall()
    return identity


def find_roles(url: str) -> set[str]:
    """All roles that users have. Raises UnusableStore."""
    with connection_to(url) as connection:
        rows = connection.execute(ROLES_OF_ALL).fetchall()
    return {role for (roles,) in rows for role in roles.split(",")}


@contextmanager
def connection_to(url: str) -> Iterator[Connection]:
    """A connection for a look. Raises UnusableStore."""
    parameters = parameters_of(url)
    try:
        with psycopg.Connection[Row].connect(**parameters) as connection:
            yield connection
    except psycopg.Error as error:
        raise unusable(url, error) from None


def read_version(url: str) -> int:
    """How many migrations the tables have seen; 0 where there are none. Raises UnusableStore."""
    with connection_to(url) as connection:
        return _version(connection)


def is_up_to_date(url: str) -> bool:
    """Whether the tables are there, and as this code needs them. Raises UnusableStore."""
    return read_version(url) == len(MIGRATIONS)


def check(url: str) -> Iterator[Finding]:
    """What the operator should know of the database; it is not changed. Raises UnusableStore."""
    shown = without_secret(url)
    with connection_to(url) as connection:
        _refuse_unsuitable(connection)
        version = _version(connection)
        yield from _check_transport(connection, shown)
        yield from _check_server(connection, shown)
        yield from _check_role(connection, has_tables=version > 0)
    if not version:
        yield Finding("warning", f"There are no tables in {shown} yet: the first start makes them.")
    elif version < len(MIGRATIONS):
        yield Finding("warning", f"The next start brings the tables in {shown} up to date.")
    else:
        yield Finding("ok", f"The tables in {shown} belong to restauth.")


def unusable(url: str, error: Exception) -> UnusableStore:
    """For an operator, who needs to know which database it is."""
    match error:
        case UnusableStore():
            return error
        case StoreUnavailable():
            cause = error.cause
        case _:
            cause = first_line(error)
    return UnusableStore(f"The database {without_secret(url)} cannot be used: {cause}.")


def first_line(error: Exception) -> str:
    """What the server says, or else the driver; it may say something for each server."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = said or str(error) or type(error).__name__
    return "; ".join(line.strip() for line in text.splitlines()).rstrip(".")


def _refuse_unsuitable(connection: Connection) -> None:
    if connection.info.server_version < OLDEST * 10_000:
        raise UnusableStore(f"{_place(connection)} is older than PostgreSQL {OLDEST}.")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnusableStore(f"{_place(connection)} has the encoding {encoding}, not UTF8.")


def _version(connection: Connection) -> int:
    """How many migrations the tables have seen. Raises UnusableStore if they are not ours."""
    ((schema, ours, others),) = connection.execute(
        """
        SELECT current_schema(), to_regclass('restauth_schema') IS NOT NULL, (
            SELECT count(*) FROM pg_class
            WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%s)
        )
        """,
        [list(TABLES)],
    ).fetchall()
    if schema is None:
        raise UnusableStore(f"{_place(connection)} has no schema of the role's search_path.")
    if not ours:
        if others:
            raise UnusableStore(f"{_place(connection)} has tables of another program.")
        return 0
    ((version,),) = connection.execute("SELECT version FROM restauth_schema").fetchall()
    if version > len(MIGRATIONS):
        raise UnusableStore(f"{_place(connection)} was written by a newer restauth.")
    return int(version)


def _place(connection: Connection) -> str:
    return f"The PostgreSQL database {connection.info.dbname} on {connection.info.host}"


def _migrate(connection: Connection) -> None:
    """Bring the tables up to date, in one transaction. Others may start at the same time."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        version = _version(connection)  # again, now that no other process can migrate
        if not version:
            connection.execute(
                "CREATE TABLE restauth_schema (id TEXT NOT NULL, version INTEGER NOT NULL)"
            )
            connection.execute("INSERT INTO restauth_schema VALUES (gen_random_uuid(), 0)")
        for number, migration in enumerate(MIGRATIONS[version:], start=version):
            for statement in (*migration, *(_COUNT_ON if number == 0 else ())):
                connection.execute(_translate(statement))
        connection.execute("UPDATE restauth_schema SET version = %s", [len(MIGRATIONS)])


def _translate(statement: str) -> bytes:
    """A migration in the words of PostgreSQL.

    Text is compared by its code points, as in SQLite: the order of a language differs from one
    version of the operating system to the next, and an index would lose rows.
    """
    for ours, theirs in (
        (r"\bAUTOINCREMENT\b", "GENERATED BY DEFAULT AS IDENTITY"),
        (r"\bINTEGER\b", "BIGINT"),
        (r"\bTEXT\b", 'TEXT COLLATE "C"'),
        (r"\) STRICT(, WITHOUT ROWID)?", ")"),
    ):
        statement = re.sub(ours, theirs, statement)
    return statement.encode()


def _check_transport(connection: Connection, shown: str) -> Iterator[Finding]:
    host = connection.info.host
    if host.startswith(("/", "@")) or host in ("localhost", "127.0.0.1", "::1"):
        return
    if not connection.pgconn.ssl_in_use:
        yield Finding("error", f"The connection to {shown} is not encrypted: sslmode=verify-full.")
    elif connection.info.get_parameters().get("sslmode") != "verify-full":
        yield Finding(
            "warning", f"The certificate of {shown} is not verified: sslmode=verify-full."
        )


def _check_server(connection: Connection, shown: str) -> Iterator[Finding]:
    for name in ("fsync", "synchronous_commit"):
        ((value,),) = connection.execute("SELECT current_setting(%s)", [name]).fetchall()
        if value == "off":
            yield Finding("error", f"{name} is off in {shown}: a crash loses writes.")


def _check_role(connection: Connection, *, has_tables: bool) -> Iterator[Finding]:
    ((role, *powers),) = connection.execute(
        """
        SELECT rolname, rolsuper, rolcreaterole, rolcreatedb, rolreplication
        FROM pg_roles WHERE rolname = current_user
        """
    ).fetchall()
    if any(powers):
        yield Finding(
            "warning",
            f"The role {role} may do more than restauth needs (restauth docs scaling).",
        )
    if not has_tables:
        return
    missing = connection.execute(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%s)
            AND NOT (
                has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')
            )
        """,
        [list(TABLES)],
    ).fetchall()
    for (table,) in missing:
        yield Finding("error", f"The role {role} may not read and write the table {table}.")
