"""A Django project in one file."""

import sys
from collections.abc import Iterator

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path, reverse

from bursty import App

settings.configure(
    SECRET_KEY="for tests",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    USE_TZ=True,
)
django.setup()


def where(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"path": request.path, "info": request.path_info, "item": reverse("item", args=["a b"])})


def item(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(name)


def form(request: HttpRequest) -> HttpResponse:
    files = {name: file.size for name, file in request.FILES.items()}
    return JsonResponse({"form": dict(request.POST.lists()), "files": files})


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        for number in range(1000):
            yield f"line {number}\n"

    return StreamingHttpResponse(lines())


def raises(request: HttpRequest) -> HttpResponse:
    raise ValueError("a Django view that raises")


urlpatterns = [
    path("where", where),
    path("items/<name>", item, name="item"),
    path("form", form),
    path("stream", stream),
    path("raises", raises),
]
sys.modules[settings.ROOT_URLCONF] = sys.modules[__name__]

app = App("djangoish")
app.mount("/dj", WSGIHandler(), name="dj")
app.mount("/adj", ASGIHandler(), name="adj")
