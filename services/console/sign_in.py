"""Signing in by a token, which is exchanged for a session, and signing out of it."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rlhf_core.errors import Unauthenticated
from services.console.backend import TOKEN_COOKIE, Backend, can_be_token, cookie_of, set_cookie
from services.console.pages import SIGN_IN, Pages, form_of

HOME = "/"


class SignIn:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend = pages, backend

    def routes(self) -> list[Route]:
        return [
            Route(SIGN_IN, self._form),
            Route(SIGN_IN, self._sign_in, methods=["POST"]),
            Route("/sign-out", self._sign_out, methods=["POST"]),
        ]

    async def _form(self, request: Request) -> Response:
        target = request.query_params.get("next", HOME)
        return self._pages.page_for(None, request, "sign_in.html", target=target, wrong="")

    async def _sign_in(self, request: Request) -> Response:
        form = await form_of(request)
        token, target = form.get("token", "").strip(), _inside(form.get("next", HOME))
        try:
            if token and not can_be_token(token):
                raise Unauthenticated("token: it holds characters that no token has")
            visitor = await self._backend.visitor_with(token)
        except Unauthenticated as error:
            wrong = error.message if token else "token: paste the token that you were given"
            status = HTTPStatus.UNAUTHORIZED
            return self._pages.page_for(None, request, "sign_in.html", status, target=target, wrong=wrong)
        response = RedirectResponse(target, HTTPStatus.SEE_OTHER)
        self._backend.sessions.end(cookie_of(request, TOKEN_COOKIE))
        if visitor.name:
            set_cookie(request, response, TOKEN_COOKIE, self._backend.sessions.begin(token))
        return response

    async def _sign_out(self, request: Request) -> Response:
        self._backend.sessions.end(cookie_of(request, TOKEN_COOKIE))
        response = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
        set_cookie(request, response, TOKEN_COOKIE, "", max_age=0)
        return response


def _inside(target: str) -> str:
    """The page to go on to, which is one of these pages whatever the address said."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else HOME
