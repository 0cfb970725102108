"""Built sets behind a URL: on a web server, and in a bucket of a real S3 server in a thread of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .serving import serve

KINDS = ("http", "s3")
PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@contextmanager
def far_away(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a folder on a server of one of KINDS, which processes that are started meanwhile can read as well."""
    if kind == "http":
        with serve(folder, stutter=9) as (url, _):
            yield url
    else:
        with _bucket(folder) as url:
            yield url


@contextmanager
def _bucket(folder: Path) -> Iterator[str]:
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in (*PROXIES, *map(str.upper, PROXIES)):
            patch.delenv(name, raising=False)
        settings = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "secret"}
        for name, value in {**settings, "DEFAULT_REGION": "us-east-1", "EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            client.upload_file(str(path), "bucket", f"sets/{path.relative_to(folder).as_posix()}")
        try:
            yield "s3://bucket/sets"
        finally:
            server.stop()
