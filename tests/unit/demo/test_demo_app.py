"""The demo: page, API endpoint, command."""

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from gemkr_hf.cli.demo_command import demo
from gemkr_hf.demo import MISSING, build_app, documents_html, mark_clues, read_examples, serve
from gemkr_hf.retrieval import Clue, GeMKRRetriever, Hit

QUESTION = "What does the sign in the picture mean?"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read(address: str, body: dict[str, Any] | None = None) -> Any:
    """The answer of the demo's own machine, whatever proxy is set."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return opener.open(urllib.request.Request(address, data, headers), timeout=60)


@pytest.fixture(scope="module")
def app(retriever, short_quickstart) -> Iterator[Any]:
    pytest.importorskip("gradio")
    page = build_app(retriever, read_examples(short_quickstart / "examples"), k=3)
    serve(page, free_port())
    yield page
    page.close(verbose=False)


@pytest.fixture(scope="module")
def ask(app) -> Callable[..., Any]:
    from gradio_client import Client, handle_file

    client = Client(app.local_url, verbose=False, analytics_enabled=False)

    def predict(image: Path | None = None, **query: Any) -> Any:
        given = {} if image is None else {"image": handle_file(str(image))}
        return client.predict(**given, **query, api_name="/retrieve")

    return predict


@pytest.fixture
def scene(short_quickstart) -> Path:
    return sorted((short_quickstart / "examples").glob("scene-*.png"))[0]


def expected(hits: list[Hit]) -> list[dict[str, Any]]:
    return [
        {
            "rank": rank,
            "id": hit.document["id"],
            "title": hit.document["title"],
            "score": pytest.approx(hit.score, abs=1e-4),
            "text": hit.document["text"],
            "clues": [
                {"text": clue.text, "score": pytest.approx(clue.score, abs=1e-4)}
                for clue in hit.clues
            ],
        }
        for rank, hit in enumerate(hits, start=1)
    ]


# -- the endpoint --------------------------------------------------------------------------------


def test_the_endpoint_answers_as_the_retriever_does(ask, retriever, scene) -> None:
    hits = retriever.retrieve(scene, QUESTION, k=4)
    assert ask(scene, question=QUESTION, k=4) == expected(hits)


def test_a_question_without_an_image_and_an_image_without_a_question(ask, retriever, scene) -> None:
    assert ask(question=QUESTION) == expected(retriever.retrieve(None, QUESTION, k=3))
    assert ask(scene) == expected(retriever.retrieve(scene, None, k=3))


def test_invalid_queries_raise_one_sentence(ask, tmp_path) -> None:
    from gradio_client.exceptions import AppError

    broken = tmp_path / "<b>.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    for query, sentence in (
        ({"question": "  "}, "^Enter an image, a question, or both.$"),
        ({"image": broken, "question": QUESTION}, "^The image cannot be read: "),
        ({"question": "why " * 1000}, "^The question is longer than 2,000 characters.$"),
        ({"question": QUESTION, "k": 1000}, "1000 is greater than maximum value"),
    ):
        with pytest.raises(AppError, match=sentence):
            ask(**query)


def test_local_files_are_not_read_for_a_caller(app, tmp_path) -> None:
    secret = tmp_path / "secret.png"
    Image.new("RGB", (64, 64)).save(secret)
    given = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
    call = f"{app.local_url}gradio_api/call/retrieve"
    event = json.loads(read(call, {"data": [given, QUESTION, 1]}).read())["event_id"]
    assert read(f"{call}/{event}").read().startswith(b"event: error")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        read(f"{app.local_url}gradio_api/file={secret}")


# -- the page ------------------------------------------------------------------------------------


def test_the_page_shows_objects_and_documents(app, retriever, scene) -> None:
    show = next(event.fn for event in app.fns.values() if event.fn.__name__ == "show")
    drawn, page = show(str(scene), QUESTION, 2)
    objects = retriever.processor.detect(scene)[0]
    with Image.open(drawn.value["path"]) as image:
        assert image.size == retriever.processor.draw(scene, objects).size
    assert f"{len(objects)} object" in drawn.alt_text
    hits = retriever.retrieve(scene, QUESTION, k=2)
    texts = "".join(_Texts.of(page))
    for hit in hits:
        assert hit.document["id"] in texts
        assert hit.document["title"] in texts
        assert hit.document["text"] in texts
    assert page.index(hits[0].document["id"]) < page.index(hits[1].document["id"])


def test_the_page_is_local_only(app) -> None:
    assert not app.analytics_enabled
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert not app.share
    assert app.theme._stylesheets == []
    assert "@font-face" not in app.theme_css
    with read(app.local_url) as answer:
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "http" not in policy


def test_one_query_at_a_time_for_page_and_endpoint(app) -> None:
    events = [event for event in app.fns.values() if event.fn.__name__ in ("show", "retrieve")]
    assert len(events) == 3
    assert {(event.concurrency_id, event.concurrency_limit) for event in events} == {("model", 1)}
    named = [event.api_name for event in app.fns.values() if event.api_visibility == "public"]
    assert named == ["retrieve"]


def test_controls_have_labels(app) -> None:
    controls = [
        block
        for block in app.blocks.values()
        if block.get_block_name() in ("image", "textbox", "slider")
    ]
    assert [block.label for block in controls] == [
        "Image", "Question", "Number of documents", "Detected objects",
    ]  # fmt: skip


def test_k_is_at_least_one(retriever) -> None:
    pytest.importorskip("gradio")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        build_app(retriever, k=0)


# -- documents as HTML ---------------------------------------------------------------------------


class _Texts(HTMLParser):
    """The texts of a page, and the names of its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @classmethod
    def of(cls, page: str) -> list[str]:
        parser = cls()
        parser.feed(page)
        return parser.texts


def test_documents_are_escaped() -> None:
    text = "One <script>alert(1)</script> two ${alert(2)} {{value}} `x` & three."
    record = {"id": '"><img src=x onerror=alert(3)>', "title": "<b>${x}</b>", "text": text}
    across = "<script>alert(1)</script> two"
    hit = Hit(
        -1.0, 0, record, (Clue((), -1.5, text=across), Clue((), -2.0, text="two ${alert(2)}"))
    )
    page = documents_html([hit], lambda ids: "")
    parser = _Texts()
    parser.feed(page)
    shown = "".join(parser.texts)
    assert text in shown
    assert record["id"] in shown
    assert record["title"] in shown
    assert not parser.tags & {"script", "img", "b"}
    assert not set("${}`") & set(page)
    assert "<mark>&lt;script&gt;alert(1)&lt;/script&gt; two</mark>" in page
    assert "<u> &#36;&#123;alert(2)&#125;</u>" in page


@pytest.mark.parametrize(
    ("text", "clues", "marked"),
    [
        ("a b c", [], "a b c"),
        ("a b c", [["x"]], "a b c"),
        ("a b c", [[""]], "a b c"),
        ("a b c", [["a b c"]], "<mark>a b c</mark>"),
        ("a b c", [["a", "c"]], "<mark>a</mark> b <mark>c</mark>"),
        ("a\nb  c", [["b c"]], "a\n<mark>b  c</mark>"),
        ("a b c", [["b"], ["a b c"]],
         "<u>a </u><mark>b</mark><u> c</u>"),
        ("(a* b", [["(a* �"]], "<mark>(a*</mark> b"),
        ("", [["a"]], ""),
    ],
)  # fmt: skip
def test_clues_are_marked_where_they_occur(text: str, clues: list[list[str]], marked: str) -> None:
    assert mark_clues(text, clues) == marked


def test_a_document_without_a_title_and_no_document() -> None:
    hit = Hit(-1.0, 0, {"id": 7, "text": "word " * 500}, (Clue((), -1.0, text="word"),))
    page = documents_html([hit], lambda ids: "")
    assert "<h3>7</h3>" in page
    assert "<code>" not in page
    assert "No documents" in documents_html([], lambda ids: "")


# -- examples ------------------------------------------------------------------------------------


def test_examples_of_a_quickstart_are_its_scenes(short_quickstart) -> None:
    examples = read_examples(short_quickstart / "examples")
    assert examples
    assert all(path.name.startswith("scene-") and question for path, question in examples)


def test_examples_of_a_folder(tmp_path) -> None:
    for name in ("b.png", "a.jpg"):
        Image.new("RGB", (16, 16)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    assert read_examples(tmp_path) == [(tmp_path / "a.jpg", ""), (tmp_path / "b.png", "")]
    listed = [{"image": "b.png", "question": "What is it?"}, {"image": "a.jpg"}]
    (tmp_path / "examples.json").write_text(json.dumps(listed))
    assert read_examples(tmp_path) == [
        (tmp_path / "b.png", "What is it?"),
        (tmp_path / "a.jpg", ""),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not valid JSON"),
        ("{}", "must be a list of examples, not a dict"),
        ('["a.png"]', "Example 1 of .* is invalid"),
        ('[{"question": "What?"}]', "Example 1 of .* is invalid"),
        ('[{"image": "missing.png"}]', "Image not found: .*missing.png"),
        ('[{"image": "examples.json"}]', "is not an image"),
        ("[]", "No images found in"),
    ],
)
def test_bad_lists_of_examples(content: str, sentence: str, tmp_path) -> None:
    (tmp_path / "examples.json").write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        read_examples(tmp_path)


# -- the command ---------------------------------------------------------------------------------


def gemkr_demo(*arguments: object) -> Result:
    cli = typer.Typer()
    cli.command()(demo)
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture
def folders(short_quickstart) -> list[object]:
    return [
        "--model", short_quickstart / "model",
        "--knowledge-base", short_quickstart / "knowledge_base",
    ]  # fmt: skip


def test_the_command_serves_the_page(folders, short_quickstart, monkeypatch) -> None:
    gradio = pytest.importorskip("gradio")
    pages = []

    def read_and_end(app: Any) -> None:
        with read(app.local_url) as answer:
            pages.append(answer.read().decode())
        app.close(verbose=False)

    monkeypatch.setattr(gradio.Blocks, "block_thread", read_and_end)
    port = free_port()
    examples = short_quickstart / "examples"
    result = gemkr_demo(*folders, "--port", port, "--examples", examples, "-k", 2)
    assert result.exit_code == 0, result.output
    assert f"http://127.0.0.1:{port}/" in result.output
    assert "Ask about an image" in pages[0]


def test_invalid_input_is_reported_before_the_model_is_loaded(
    folders, tmp_path, monkeypatch
) -> None:
    pytest.importorskip("gradio")

    def not_yet(*_: Any, **__: Any) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr(GeMKRRetriever, "from_pretrained", not_yet)
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, sentence in (
            ([], "Model not found: no local file or folder 'runs/quickstart/model'; run 'gemkr"),
            (["--model", tmp_path], f"Model not found in '{tmp_path}': config.json is missing"),
            ([*folders[:2], "--knowledge-base", tmp_path / "no"], "Knowledge base not found: no"),
            ([*folders, "--port", port], f"Port {port} is not available"),
            (
                [*folders, "--port", free_port(), "--examples", tmp_path / "no"],
                "Folder with examples not",
            ),
            ([*folders, "--port", free_port(), "--examples", tmp_path], "No images found in"),
        ):
            result = gemkr_demo(*arguments)
            assert result.exit_code == 2, result.output
            assert result.stderr.startswith("Error: ")
            assert sentence in result.stderr
            assert result.stderr.count("\n") == 1


def test_missing_gradio_is_one_sentence(retriever, folders, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ImportError) as raised:
        build_app(retriever)
    assert str(raised.value) == MISSING
    result = gemkr_demo(*folders)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {MISSING}\n"
