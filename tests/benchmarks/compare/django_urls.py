"""The one view of the Django case."""

from django.http import HttpRequest, JsonResponse
from django.urls import path


def root(request: HttpRequest) -> JsonResponse:
    """Answer as the other frameworks' cases do."""
    return JsonResponse({"hello": "world"})


urlpatterns = [path("", root)]
