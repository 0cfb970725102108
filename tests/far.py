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
def far_away(kind: str, folder: Path, stutter: int = 0) -> Iterator[str]:
    """The URL of a folder on a server of one of KINDS, which processes that are started meanwhile can read as well.

    stutter: every so many requests over HTTP fail once.
    """
    if kind == "http":
        with serve(folder, stutter=stutter) as (url, _):
            yield url
    else:
        with _bucket(folder) as url:
            yield url


@contextmanager
def asked_at(host: str, port: int) -> Iterator[None]:
    """S3 is what answers there, for this process and for those that it starts."""
    s3fs = pytest.importorskip("s3fs")
    with pytest.MonkeyPatch.context() as patch:
        for name in (*PROXIES, *map(str.upper, PROXIES)):
            patch.delenv(name, raising=False)
        settings = {"ENDPOINT_URL": f"http://{host}:{port}", "ACCESS_KEY_ID": "me", "SECRET_ACCESS_KEY": "secret"}
        for name, value in {**settings, "DEFAULT_REGION": "us-east-1", "EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(f"AWS_{name}", value)
        s3fs.S3FileSystem.clear_instance_cache()  # those of another place
        yield


@contextmanager
def _bucket(folder: Path) -> Iterator[str]:
    boto3 = pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with asked_at(*server.get_host_and_port()):
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            client.upload_file(str(path), "bucket", f"sets/{path.relative_to(folder).as_posix()}")
        try:
            yield "s3://bucket/sets"
        finally:
            server.stop()
