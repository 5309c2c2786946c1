"""The demo: a gradio page with one API endpoint, and its server."""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemkr_hf.demo.results_html import documents_html, documents_json, escape
from gemkr_hf.processing import load_image
from gemkr_hf.retrieval import GeMKRRetriever, Hit
from gemkr_hf.utils.text import count

if TYPE_CHECKING:
    import gradio
    from PIL import Image

logger = logging.getLogger(__name__)

MISSING = "The demo needs gradio: pip install 'gemkr-hf[demo]'"
TITLE = "Ask about an image"

_MAX_DOCUMENTS = 20
_MAX_QUESTION_LENGTH = 2000  # characters
_MAX_FILE_SIZE = "32mb"
_MAX_QUEUE_SIZE = 32  # queries
_HOUR = 60 * 60  # seconds
_MODEL_QUEUE: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "model"}

# The browser loads nothing from other servers, whatever a version of gradio or a document asks for.
# gradio compiles its templates in the browser, which needs 'unsafe-eval'.
_CONTENT_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; form-action 'self'"
)


def _import_gradio() -> Any:
    """Import gradio with its usage reporting switched off.

    Raises:
        ImportError: gradio is not installed.
    """
    # Some of gradio's modules read this while they are imported.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise ImportError(MISSING) from error
    return gradio


class _QueryHandler:
    """Answers the queries of the page and of the API.

    Invalid queries raise ``gradio.Error``, which the page and API clients show.
    """

    def __init__(self, retriever: GeMKRRetriever) -> None:
        self.retriever = retriever
        self.gradio = _import_gradio()

    def _error(self, message: str) -> Exception:
        # The page shows messages as HTML. A user's mistake is not logged with a traceback.
        return self.gradio.Error(escape(message), print_exception=False)

    def run(
        self, image: str | None, question: str | None, k: float
    ) -> tuple["Image.Image | None", list[Any], list[Hit]]:
        """Check a query and retrieve its documents.

        Args:
            image: path or data URL.
            question: may be empty if there is an image.
            k: number of documents.

        Returns:
            The image, its detected objects, and the hits.
        """
        question = (question or "").strip()
        if image is None and not question:
            raise self._error("Enter an image, a question, or both.")
        if len(question) > _MAX_QUESTION_LENGTH:
            raise self._error(f"The question is longer than {_MAX_QUESTION_LENGTH:,} characters.")
        try:
            loaded = None if image is None else load_image(image)
        except (ValueError, OSError) as error:
            logger.info("Unreadable image: %s", error)
            message = "The image cannot be read: use a PNG, JPEG, WebP, GIF or BMP file."
            raise self._error(message) from None
        processor = self.retriever.processor
        try:
            objects = []
            if loaded is not None and processor.detector is not None:
                objects = processor.detect(loaded)[0]
            hits = self.retriever.retrieve(
                loaded, question or None, k=int(k), objects=None if loaded is None else objects
            )
        except (ValueError, OSError, ImportError) as error:  # a detector's package is missing
            raise self._error(str(error)) from error
        return loaded, objects, hits

    def show(self, image: str | None, question: str | None, k: float) -> tuple[Any, str]:
        """Return the image with its detected objects, and the documents as HTML."""
        start = time.perf_counter()
        loaded, objects, hits = self.run(image, question, k)
        summary = f"{time.perf_counter() - start:.1f} s"
        boxes = self.gradio.Image(value=None, visible=False)
        if loaded is not None:
            detected = f"{count(len(objects), 'object')} detected"
            summary = f"{detected}, {summary}"
            boxes = self.gradio.Image(
                value=self.retriever.processor.draw(loaded, objects),
                visible=True,
                alt_text=f"The image, {detected}",
            )
        return boxes, documents_html(hits, self.retriever.processor.tokenizer.decode, summary)

    def retrieve(
        self, image: str | None = None, question: str | None = None, k: float = 5
    ) -> list[dict[str, Any]]:
        """Return the documents as JSON."""
        return documents_json(self.run(image, question, k)[2])


def _uploaded_path(payload: Any) -> str | None:
    """Path or data URL of an uploaded file, which `load_image` reads with clear errors."""
    if payload is None:
        return None
    is_data = payload.url and payload.url.startswith("data:")
    return payload.url if is_data else payload.path


def build_app(
    retriever: GeMKRRetriever,
    examples: Sequence[tuple[str | Path, str]] = (),
    title: str = TITLE,
    k: int = 5,
) -> "gradio.Blocks":
    """Build the page: image and question in, documents out.

    Args:
        retriever: answers one query at a time; others wait in a queue.
        examples: paths of images with their questions.
        title: plain text.
        k: initial number of documents.

    Returns:
        The page; ``serve`` starts it. Its API has one endpoint, ``/retrieve``, which takes
        ``image``, ``question`` and ``k`` and returns what `documents_json` returns.

    Raises:
        ImportError: gradio is not installed.
        ValueError: ``k`` is below 1.
    """
    gr = _import_gradio()
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    handler = _QueryHandler(retriever)
    size = len(retriever.knowledge_base)
    with gr.Blocks(title=title, analytics_enabled=False, delete_cache=(_HOUR, 24 * _HOUR)) as app:
        gr.Markdown(
            f"# {escape(title)}\nThe model writes clues, each of which occurs in exactly one of "
            f"{count(size, 'document')}."
        )
        with gr.Row():
            with gr.Column():
                image = gr.Image(
                    label="Image", type="filepath", sources=["upload", "clipboard"], height=280
                )
                image.preprocess = _uploaded_path
                question = gr.Textbox(label="Question", max_length=_MAX_QUESTION_LENGTH)
                number = gr.Slider(
                    1,
                    min(max(k, _MAX_DOCUMENTS), max(size, 2)),
                    value=min(k, max(size, 2)),
                    step=1,
                    label="Number of documents",
                )
                search = gr.Button("Search", variant="primary")
            with gr.Column(scale=2):
                boxes = gr.Image(
                    label="Detected objects", format="png", interactive=False, visible=False
                )
                documents = gr.HTML(min_height=120)
        query: dict[str, Any] = {
            "fn": handler.show,
            "inputs": [image, question, number],
            "outputs": [boxes, documents],
            "api_visibility": "private",
            "show_progress_on": documents,
            **_MODEL_QUEUE,
        }
        gr.on([search.click, question.submit], **query)
        if examples:
            table = gr.Examples(
                [[str(path), text] for path, text in examples],
                inputs=[image, question],
                cache_examples=False,
                api_visibility="private",
            )
            table.load_input_event.success(**query)
        # The API's answer differs from the page's: an invisible button has an event of its own.
        gr.Button("retrieve", visible=False).click(
            handler.retrieve,
            [image, question, number],
            gr.JSON(visible=False, label="documents"),
            api_name="retrieve",
            api_description="Retrieve the documents that answer a question about an image.",
            **_MODEL_QUEUE,
        )
    app.queue(max_size=_MAX_QUEUE_SIZE, default_concurrency_limit=1)
    return app


class _ContentPolicy:
    """ASGI middleware that adds the content policy to every response.

    Starlette's ``BaseHTTPMiddleware`` would buffer gradio's event streams.
    """

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        async def send_with_policy(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _CONTENT_POLICY.encode())
                message = {**message, "headers": [*message.get("headers", ()), policy]}
            await send(message)

        await self.app(scope, receive, send_with_policy)


def serve(
    app: "gradio.Blocks",
    port: int | None = 7860,
    share: bool = False,
    host: str | None = "127.0.0.1",
    wait: bool = False,
) -> str:
    """Start the page and return its address; ``app.close()`` stops it.

    Args:
        app: of ``build_app``.
        port: where it listens; None for gradio's environment variable ``GRADIO_SERVER_PORT``, as on
            a Space.
        share: also open a public address through gradio's servers.
        host: by default this machine only; None for ``GRADIO_SERVER_NAME``.
        wait: return only when the page has been stopped.

    Raises:
        OSError: the port is in use.
    """
    gr = _import_gradio()
    from starlette.middleware import Middleware

    _, address, public = app.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        inbrowser=False,
        quiet=True,
        show_error=False,
        theme=gr.themes.Default(font=["sans-serif"], font_mono=["monospace"]),  # no web fonts
        footer_links=["api", "settings"],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=_MAX_FILE_SIZE,
        app_kwargs={"middleware": [Middleware(_ContentPolicy)]},
    )
    if wait:
        app.block_thread()
    return public or address


__all__ = ["MISSING", "TITLE", "build_app", "serve"]
