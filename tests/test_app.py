"""create_app: what a server's configuration names."""

from pathlib import Path

import webtest

from restauth import create_app


def test_create_app_reads_keywords(tmp_path: Path) -> None:
    app = create_app(database=tmp_path / "a.db", key_file=tmp_path / "a.keys")
    webtest.TestApp(app).get("/api/health", status=200)
    app.services.close()
