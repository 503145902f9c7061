"""Flask and Django feel at home."""

import io
import json
from collections.abc import Iterator
from typing import Any

import django
import flask
import pytest
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

from tests.unit.wsgi.fakes import Server, request

FILE = bytes(range(256)) * 4096


def form(data: bytes, boundary: bytes = b"limit") -> tuple[bytes, list[tuple[bytes, bytes]]]:
    body = (
        b"--%b\r\n" % boundary
        + b'Content-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
        + data
        + b"\r\n--%b--\r\n" % boundary
    )
    return body, [(b"content-type", b"multipart/form-data; boundary=" + boundary)]


@pytest.fixture(scope="module")
def flask_app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    app = flask.Flask("shop")
    file = tmp_path_factory.mktemp("files") / "file.bin"
    file.write_bytes(FILE)

    @app.get("/hello/<name>")
    def hello(name: str) -> dict[str, Any]:
        return {"name": name, "q": flask.request.args.getlist("q"), "url": flask.request.url}

    @app.post("/upload")
    def upload() -> dict[str, int]:
        return {"size": len(flask.request.files["file"].read())}

    @app.post("/raw")
    def raw() -> bytes:
        return flask.request.get_data()

    @app.get("/stream")
    def stream() -> Any:
        def parts() -> Iterator[str]:
            yield "one "
            yield "two"

        return flask.Response(parts())

    @app.get("/file")
    def send() -> Any:
        return flask.send_file(file)

    @app.get("/broken")
    def broken() -> str:
        raise ValueError("boom")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    return app


@pytest.fixture(scope="module")
def django_app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("files") / "file.bin"
    file.write_bytes(FILE)

    def hello(request: HttpRequest, name: str) -> HttpResponse:
        return JsonResponse({"name": name, "q": request.GET.getlist("q"), "url": request.build_absolute_uri()})

    def upload(request: HttpRequest) -> HttpResponse:
        return JsonResponse({"size": len(request.FILES["file"].read())})

    def raw(request: HttpRequest) -> HttpResponse:
        return HttpResponse(request.body)

    def stream(request: HttpRequest) -> StreamingHttpResponse:
        return StreamingHttpResponse(iter(["one ", "two"]))

    def send(request: HttpRequest) -> FileResponse:
        return FileResponse(file.open("rb"))

    def broken(request: HttpRequest) -> HttpResponse:
        raise ValueError("boom")

    class Urls:
        urlpatterns = (
            path("hello/<str:name>", hello),
            path("upload", upload),
            path("raw", raw),
            path("stream", stream),
            path("file", send),
            path("broken", broken),
        )

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=Urls,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="test",
            MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
            LOGGING_CONFIG=None,
        )
        django.setup()
    return WSGIHandler()


@pytest.fixture(params=["flask_app", "django_app"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.getfixturevalue(request.param), threads=2) as server:
        yield server


def test_pages(server: Server) -> None:
    connection = server.answer(request(target="/hello/J%C3%BCrgen?q=1&q=%C3%A4"))
    assert connection.status == "200 OK"
    assert connection.writes == 1
    assert int(connection.headers["content-length"]) == len(connection.body)
    answer = json.loads(connection.body)
    assert (answer["name"], answer["q"]) == ("Jürgen", ["1", "ä"])
    assert answer["url"].startswith("http://example.org/hello/J")


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads(server: Server, chunked: bool) -> None:
    for size in (10, 3 * 1024 * 1024):
        body, headers = form(b"x" * size)
        length = None if chunked else len(body)
        connection = server.answer(request("POST", "/upload", headers, content_length=length, chunked=chunked), body)
        assert json.loads(connection.body) == {"size": size}
    connection = server.answer(request("POST", "/raw", content_length=None if chunked else 3, chunked=chunked), b"raw")
    assert connection.body == b"raw"


def test_streams(server: Server) -> None:
    connection = server.answer(request(target="/stream"))
    assert connection.body == b"one two"


def test_files(server: Server) -> None:
    connection = server.answer(request(target="/file"))
    assert connection.headers["content-length"] == str(len(FILE))
    assert connection.body == FILE
    assert connection.finished
    assert server.answer(request("HEAD", "/file")).body == b""


def test_errors_are_the_frameworks(server: Server) -> None:
    for target, status in (("/broken", "500"), ("/nowhere", "404"), ("/hello/x", "200")):
        assert server.answer(request(target=target)).status.startswith(status)


def test_a_client_that_leaves_during_an_awaited_upload_is_no_error(server: Server) -> None:
    body, headers = form(b"x" * 1000)
    head = request("POST", "/upload", headers, content_length=len(body), expect_continue=True)
    connection, exchange = server.begin(head)
    server.until(lambda: "send_continue" in connection.calls)
    exchange.data_received(body[:500])
    exchange.client_left()
    server.until(lambda: connection.returned)
    assert server.log.text == ""


def test_the_input_is_a_stream_for_the_io_module() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [io.TextIOWrapper(environ["wsgi.input"], "utf-8").read().encode()]

    with Server(app) as server:
        assert server.answer(request("POST", content_length=3), "äx".encode()).body == "äx".encode()
