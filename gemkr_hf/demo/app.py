"""The page and its server, made with gradio."""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemkr_hf.demo.results_html import CSS, HINT, documents_html, documents_json, escape
from gemkr_hf.processing import load_image
from gemkr_hf.retrieval.retriever import GeMKRRetriever, Hit

if TYPE_CHECKING:
    import gradio
    from PIL import Image

logger = logging.getLogger(__name__)

MISSING = "The demo needs gradio: pip install 'gemkr-hf[demo]'"

TITLE = "Ask about an image"
_MOST_DOCUMENTS = 20
_LONGEST_QUESTION = 2000  # characters
_LARGEST_FILE = "32mb"
_WAITING = 32  # queries in the queue; more are told to come back
_DAY = 24 * 60 * 60
_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Noto Sans Mono", "monospace")

# The page needs nothing from elsewhere: the browser is told not to fetch it, whatever a version of
# gradio, or a document, asks for. gradio's templates are compiled in the browser ('unsafe-eval').
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'"
)


def _import_gradio() -> Any:
    """gradio, told not to report on its users.

    Raises:
        ImportError: it is not installed.
    """
    # gradio's parts look at it one by one, some of them while they are imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise ImportError(MISSING) from error
    return gradio


class _Finder:
    """What page and API ask: an unusable query is a ``gradio.Error`` of one sentence."""

    def __init__(self, retriever: GeMKRRetriever) -> None:
        self.retriever = retriever
        self.gradio = _import_gradio()

    def _refuse(self, sentence: str) -> Exception:
        # Shown as HTML; a user's mistake is no matter for the log.
        return self.gradio.Error(escape(sentence), print_exception=False)

    def _load(self, image: str | None) -> "Image.Image | None":
        if image is None:
            return None
        try:
            return load_image(image)
        except (ValueError, OSError) as error:
            logger.info("An unreadable image: %s", error)
            raise self._refuse(
                "The file is no image that can be read: take a PNG, JPEG, WebP, GIF or BMP."
            ) from None

    def ask(
        self, image: str | None, question: str | None, k: float
    ) -> tuple["Image.Image | None", list[Any], list[Hit]]:
        """Image, its objects, and documents; ``image`` is a path or a data URL.

        Raises:
            gradio.Error: neither image nor question, too long a question, an image that cannot
                be read, or what the retriever refuses.
        """
        question = (question or "").strip()
        if image is None and not question:
            raise self._refuse("Give an image or a question, best of all both.")
        if len(question) > _LONGEST_QUESTION:
            raise self._refuse(
                f"The question is longer than {_LONGEST_QUESTION:,} characters: ask a shorter one."
            )
        loaded = self._load(image)
        processor = self.retriever.processor
        try:
            objects = []
            if loaded is not None and processor.detector is not None:
                objects = processor.detect(loaded)[0]
            hits = self.retriever.retrieve(
                loaded, question or None, k=int(k), objects=None if loaded is None else objects
            )
        except (ValueError, OSError) as error:
            raise self._refuse(str(error)) from error
        return loaded, objects, hits

    def show(self, image: str | None, question: str | None, k: float) -> tuple[Any, str]:
        """The image with its objects, and the documents as HTML."""
        started = time.perf_counter()
        loaded, objects, hits = self.ask(image, question, k)
        seconds = time.perf_counter() - started
        told = f"{seconds:.1f} s"
        if loaded is None:
            drawn = self.gradio.Image(value=None, visible=False)
        else:
            found = f"{len(objects)} object" + ("" if len(objects) == 1 else "s")
            told = f"{found} found, {told}"
            drawn = self.gradio.Image(
                value=self.retriever.processor.draw(loaded, objects),
                visible=True,
                alt_text=f"The image with {found} in numbered boxes",
            )
        return drawn, documents_html(hits, self.retriever.processor.tokenizer.decode, told)

    def retrieve(
        self, image: str | None = None, question: str | None = None, k: float = 5
    ) -> list[dict[str, Any]]:
        """The documents as JSON."""
        return documents_json(self.ask(image, question, k)[2])


def _path_of(payload: Any) -> str | None:
    """Where the uploaded file is, unread: gradio's own reading tells of a damaged one too late."""
    if payload is None:
        return None
    if payload.url and payload.url.startswith("data:"):
        return payload.url
    return payload.path


def build_app(
    retriever: GeMKRRetriever,
    examples: Sequence[tuple[str | Path, str]] = (),
    title: str = TITLE,
    k: int = 5,
) -> "gradio.Blocks":
    """The page: an image and a question in, documents out.

    Args:
        retriever: answers one query at a time; others wait in a queue.
        examples: paths of images with their questions.
        title: in plain text.
        k: documents wanted, until the user wants another number.

    Returns:
        The page; :func:`serve` starts it. Its API has one endpoint, ``/retrieve``, which takes
        ``image``, ``question`` and ``k`` and returns a list of
        ``{"rank", "id", "score", "text", "clues": [{"text", "score"}]}``, with ``"title"`` where
        the document has one.

    Raises:
        ImportError: gradio is not installed.
        ValueError: ``k`` is below 1.
    """
    gr = _import_gradio()
    if k < 1:
        raise ValueError(f"k is the number of documents wanted, at least 1, got {k}")
    finder = _Finder(retriever)
    size = len(retriever.knowledge_base)
    # One model: page and API wait in the same queue.
    one_at_a_time: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}
    with gr.Blocks(
        title=title, analytics_enabled=False, fill_width=True, delete_cache=(_DAY // 24, _DAY)
    ) as app:
        gr.HTML(
            f"<h1>{escape(title)}</h1><p>The model writes clues that occur in exactly one of "
            f"{size:,} document{'' if size == 1 else 's'}; each clue leads to its document.</p>",
            elem_classes="heading",
            apply_default_css=False,
        )
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                image = gr.Image(
                    label="Image",
                    type="filepath",
                    sources=["upload", "clipboard"],
                    buttons=[],
                    height=280,
                    placeholder="Drop an image here\nor click to choose one",
                    elem_id="image",
                )
                image.preprocess = _path_of
                question = gr.Textbox(
                    label="Question",
                    placeholder="What does the sign in the picture mean?",
                    max_length=_LONGEST_QUESTION,
                    elem_id="question",
                )
                number = gr.Slider(
                    1,
                    min(max(k, _MOST_DOCUMENTS), max(size, 2)),
                    value=min(k, max(size, 2)),
                    step=1,
                    label="Number of documents",
                    elem_id="number",
                )
                find = gr.Button("Find", variant="primary", elem_id="find")
                shown = (
                    gr.Examples(
                        [[str(path), asked] for path, asked in examples],
                        inputs=[image, question],
                        cache_examples=False,
                        elem_id="examples",
                        api_visibility="private",
                    )
                    if examples
                    else None
                )
            with gr.Column(scale=3, min_width=340):
                drawn = gr.Image(
                    label="Objects found",
                    show_label=False,  # it would cover the first box; the line below tells it
                    format="png",
                    interactive=False,
                    buttons=["fullscreen"],
                    height=320,
                    visible=False,
                    elem_id="objects",
                )
                documents = gr.HTML(
                    HINT, elem_id="documents", min_height=120, apply_default_css=False
                )
        asked: dict[str, Any] = {
            "fn": finder.show,
            "inputs": [image, question, number],
            "outputs": [drawn, documents],
            "api_visibility": "private",
            "show_progress_on": documents,
            **one_at_a_time,
        }
        gr.on([find.click, question.submit], **asked)
        if shown is not None:
            shown.load_input_event.success(**asked)
        # An event that no one can see is what gives the endpoint its own answer.
        gr.Button("retrieve", visible=False).click(
            finder.retrieve,
            [image, question, number],
            gr.JSON(visible=False, label="documents"),
            api_name="retrieve",
            api_description="The documents that answer a question about an image, best first.",
            **one_at_a_time,
        )
    app.queue(max_size=_WAITING, default_concurrency_limit=1)
    return app


_Scope = dict[str, Any]


class _FromHereAlone:
    """Adds the policy to every answer; not one of starlette's, which would hold up streams."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Scope, receive: Any, send: Any) -> None:
        async def send_with_policy(message: _Scope) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _POLICY.encode())
                message = {**message, "headers": [*message.get("headers", ()), policy]}
            await send(message)

        await self.app(scope, receive, send_with_policy)


def _theme() -> Any:
    gr = _import_gradio()
    return gr.themes.Default(primary_hue="teal", font=_FONTS, font_mono=_MONO).set(
        # Light grey on white is what the theme has, too faint to read.
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
    )


def serve(
    app: "gradio.Blocks",
    port: int | None = 7860,
    share: bool = False,
    host: str | None = "127.0.0.1",
    wait: bool = False,
) -> str:
    """Start the page, on this machine alone, and return its address; ``app.close()`` ends it.

    Args:
        app: of :func:`build_app`.
        port, host: where it listens; None for what the environment says, as on a Space
            (``GRADIO_SERVER_PORT``, ``GRADIO_SERVER_NAME``).
        share: also open a public address, through a server of gradio's makers.
        wait: return when it has been stopped.

    Raises:
        OSError: the port is taken.
    """
    _import_gradio()
    from starlette.middleware import Middleware

    _, address, public = app.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        inbrowser=False,
        quiet=True,
        show_error=False,
        theme=_theme(),
        css=_PAGE_CSS + CSS,
        footer_links=["api", "settings"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=_LARGEST_FILE,
        app_kwargs={"middleware": [Middleware(_FromHereAlone)]},
    )
    if wait:
        app.block_thread()
    return public or address


_PAGE_CSS = """
.heading .html-container, #documents .html-container { padding: 0; }
.heading h1 { font-size: 1.5rem; font-weight: 700; margin: 0 0 .25rem; }
.heading p { color: var(--body-text-color-subdued); margin: 0; }
.gradio-container { max-width: 1360px !important; margin: 0 auto !important; }
#examples td.textbox, #examples th { text-align: left; justify-content: flex-start; }
"""


__all__ = ["MISSING", "TITLE", "build_app", "serve"]
