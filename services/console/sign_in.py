"""Signing in by a token. The browser keeps it where no script can read it and no other site can send it."""

from __future__ import annotations

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rlhf_core.errors import Unauthenticated
from services.console.backend import TOKEN_COOKIE, Backend, can_be_token
from services.console.pages import SIGN_IN, Pages, form_of

HOME = "/"


class SignIn:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend = pages, backend

    def routes(self) -> list[Route]:
        return [
            Route(SIGN_IN, self._form),
            Route(SIGN_IN, self._sign_in, methods=["POST"]),
            Route("/sign-out", _sign_out, methods=["POST"]),
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
            await self._backend.visitor_with(token)
        except Unauthenticated as error:
            wrong = error.message if token else "token: paste the token that you were given"
            status = HTTPStatus.UNAUTHORIZED
            return self._pages.page_for(None, request, "sign_in.html", status, target=target, wrong=wrong)
        response = RedirectResponse(target, HTTPStatus.SEE_OTHER)
        secure = request.url.scheme == "https"
        response.set_cookie(TOKEN_COOKIE, token, httponly=True, samesite="strict", secure=secure)
        return response


async def _sign_out(request: Request) -> Response:
    response = RedirectResponse(SIGN_IN, HTTPStatus.SEE_OTHER)
    response.delete_cookie(TOKEN_COOKIE, httponly=True, samesite="strict")
    return response


def _inside(target: str) -> str:
    """The page to go on to, which is one of these pages whatever the address said."""
    return target if target.startswith("/") and not target.startswith(("//", "/\\")) else HOME
