"""How a page is made: its template, who looks at it, and what it says when something is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote

from google.protobuf.timestamp_pb2 import Timestamp
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.templating import Jinja2Templates

from rlhf_core.errors import CharterError, InvalidInput, Unauthenticated
from rlhf_core.evaluation.statistics import Estimate
from services.console.backend import POLICIES, Backend, Visitor
from services.console.pairs import visible
from services.http.errors import told_of

HERE = Path(__file__).parent
JSON, EVENTS = "application/json", "text/event-stream"
SIGN_IN = "/sign-in"
HOME = "/runs"
PAGES = (
    ("preference", "/label", "Label"),
    ("annotation", "/quality", "Quality"),
    ("trainer", HOME, "Runs"),
    ("trainer", "/compare", "Compare"),
    (POLICIES, "/policies", "Policies"),
    ("study", "/studies", "Studies"),
    ("preference", "/constitution", "Constitution"),
    ("dataset", "/datasets", "Datasets"),
)
"""Which service a page needs, its address and its title."""
FOR_ANNOTATORS = ("/label", "/quality")
"""Pages for those who may label and look at nothing else."""


class Pages:
    """Renders templates. Everything in them is text: nothing that a model or a person wrote becomes markup."""

    def __init__(self, backend: Backend):
        self._backend = backend
        environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(visible=visible, moment=moment, number=number, interval=interval)
        self._templates = Jinja2Templates(env=environment)

    async def home(self, request: Request) -> Response:
        """Lead to the runs, or else to the first page that the server's services have."""
        visitor = await self._backend.visitor(request)
        offered = [address for service, address, _ in pages_for(visitor) if service in visitor.services]
        return RedirectResponse(HOME if HOME in offered or not offered else offered[0])

    async def page(self, request: Request, template: str, status: int = HTTPStatus.OK, **context: Any) -> Response:
        """Render a page for whoever asks. Raises what the services say of the visitor."""
        return self.page_for(await self._backend.visitor(request), request, template, status, **context)

    def page_for(
        self, visitor: Visitor | None, request: Request, template: str, status: int = HTTPStatus.OK, **context: Any
    ) -> Response:
        """Render a page for a visitor who is known already, or for nobody yet."""
        given = {"visitor": visitor, "path": request.url.path, "pages": pages_for(visitor), **context}
        return self._templates.TemplateResponse(request, template, given, status)

    def part(self, template: str, **context: Any) -> str:
        """Render a part of a page, as HTML."""
        return self._templates.env.get_template(template).render(context)

    async def failed(self, request: Request, error: Exception) -> Response:
        """Answer an error: in JSON to a script, a way to sign in, or a page that says what is wrong."""
        if isinstance(error, HTTPException):
            known = error.status_code == HTTPStatus.NOT_FOUND
            message = f"there is no page {visible(request.url.path[:200])} here" if known else error.detail
            return await self._error(request, error.status_code, message)
        told = told_of(error)
        if request.headers.get("accept") in (JSON, EVENTS):
            return told.response
        if isinstance(error, Unauthenticated) and request.method == "GET":
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"{SIGN_IN}?next={quote(wanted)}", HTTPStatus.SEE_OTHER)
        return await self._error(request, told.response.status_code, str(error))

    async def _error(self, request: Request, status: int, message: str) -> Response:
        """Say what is wrong, with the menu where somebody may see it."""
        try:
            visitor = await self._backend.visitor(request)
        except CharterError:
            visitor = None
        return self.page_for(visitor, request, "error.html", status, message=message)


def pages_for(visitor: Visitor | None) -> Sequence[tuple[str, str, str]]:
    """List the pages that somebody may look at, as `PAGES` has them."""
    everything = visitor is None or visitor.may("read")
    return PAGES if everything else [page for page in PAGES if page[1] in FOR_ANNOTATORS]


async def form_of(request: Request) -> dict[str, str]:
    """Read the fields of a form. Raises InvalidInput for what is none."""
    try:
        return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError as error:
        raise InvalidInput(f"form: {error}", "form") from None


def number(value: float, form: str) -> str:
    """Write a number in a form such as `+.2f`; what is rounded to zero has no minus."""
    sign, rest = ("+", form[1:]) if form.startswith("+") else ("", form)
    return f"{value:{sign}z{rest}}"


def interval(estimate: Estimate | None, sign: bool = False) -> str:
    """Write `0.75 [0.60, 0.90]`, a value and its 95 % interval; a dash where there is none."""
    if estimate is None:
        return "–"
    form = "+.2f" if sign else ".2f"
    value, low, high = (number(each, form) for each in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def moment(stamp: Timestamp) -> str:
    """Write `2026-11-29 16:04`, UTC; empty where there is none."""
    return stamp.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M") if stamp.ByteSize() else ""
