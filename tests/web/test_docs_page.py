"""/docs: everything that can be called is on it, every link on it leads somewhere, and nothing comes from elsewhere."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from cronsvc.config import Settings
from cronsvc.web.app import WebSettings, create_app, route_table
from cronsvc.web.curl_examples import load_examples
from cronsvc.web.page import Pages
from cronsvc.web.problems import PROBLEMS
from cronsvc.web.routing import Door
from cronsvc.web.schema_words import Part, fields_of, type_of
from cronsvc.web.services import Services

TABLE = route_table(Pages(WebSettings()))
VOID = {"meta", "link", "img", "input", "br"}


class Page(HTMLParser):
    """The elements of a page, with the text of each article by its id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._article: str | None = None
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.elements.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "article":
            self._article = found.get("id")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "article":
            self._article = None

    def handle_data(self, data: str) -> None:
        if self._article is not None:
            self.texts[self._article] = self.texts.get(self._article, "") + data

    def each(self, name: str) -> Iterator[str]:
        """The values of an attribute."""
        return (value for _, attributes in self.elements if (value := attributes.get(name)) is not None)


@pytest.fixture(scope="module")
def kept() -> dict[str, Page]:
    return {}


@pytest.fixture
async def page(http: httpx2.AsyncClient, kept: dict[str, Page]) -> Page:
    if "page" not in kept:
        response = await http.get("/docs")
        assert (response.status_code, response.headers["content-type"]) == (200, "text/html; charset=utf-8")
        kept["page"] = Page(response.text)
    return kept["page"]


def test_every_route_is_shown_with_its_example(page: Page, app: Starlette) -> None:
    examples = load_examples()
    for route in TABLE:
        shown = page.texts[route.name]
        assert f"{route.method} {route.path}" in shown
        assert route.name not in examples or examples[route.name].command in shown
    document = json.loads(app.state.openapi)
    for path, item in document["paths"].items():
        for operation in item.values():
            shown = page.texts[operation["operationId"]]
            assert all(each["name"] in shown for each in operation.get("parameters", ())), path
            assert all(status in shown for status in operation["responses"]), path
            role = operation.get("x-cronsvc-role")
            assert (f"Needs the role {role}" in shown) is (role is not None)


def test_what_an_example_needs_is_told_before_the_first(page: Page) -> None:
    needed = {variable for example in load_examples().values() for variable in example.variables}
    told = {"CRONSVC_URL", "CRONSVC_API_KEY"} | set(re.findall(r"\$(\w+)", page.texts["intro"]))
    assert not {variable for variable in needed - told if not variable.endswith("_ID")}
    assert all(f"export {variable}=" in page.texts["intro"] for variable in ("CRONSVC_URL", "CRONSVC_API_KEY"))


def test_what_the_page_exports_does_no_harm_to_the_command_line(page: Page) -> None:
    """In the same shell commands run, and they refuse a CRONSVC_ variable that they do not know."""
    known = {field.alias for field in Settings.model_fields.values()}
    named = {name for text in page.texts.values() for name in re.findall(r"\bCRONSVC_[A-Z_]+\b", text)}
    assert {"CRONSVC_URL", "CRONSVC_API_KEY"} <= named <= known


def test_every_schema_is_shown_with_its_fields(page: Page, app: Starlette) -> None:
    for name, schema in json.loads(app.state.openapi)["components"]["schemas"].items():
        shown = page.texts[f"schema-{name}"]
        assert schema["title"] in shown
        assert all(field in shown for field in schema.get("properties", ()))
        assert all(str(value) in shown for value in schema.get("enum", ()))
        assert schema.get("description", "").replace("`", "") in shown


def test_every_link_leads_somewhere_and_every_place_is_one(page: Page) -> None:
    ids = Counter(page.each("id"))
    assert set(ids.values()) == {1}
    own = {route.path for route in TABLE if "{" not in route.path} | {kind.type for kind in PROBLEMS.values()}
    for link in page.each("href"):
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            assert link in own or link.startswith("/static/"), link
    assert page.open == []


def test_nothing_comes_from_elsewhere_and_nothing_is_inline(page: Page) -> None:
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "style", "iframe", "object", "embed", "form"}
    for name in ("src", "href", "action", "srcset"):
        assert not [value for value in page.each(name) if re.match(r"[a-z]+:|//", value)]
    assert not [name for _, attributes in page.elements for name in attributes if name == "style" or name[:2] == "on"]


def test_it_can_be_read_by_its_structure(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels)), "a heading is left out"
    tags = Counter(tag for tag, _ in page.elements)
    assert tags["main"] == 1 and tags["table"] == tags["caption"]
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")
    for tag, attributes in page.elements:
        if tag == "pre":  # it scrolls, so a keyboard must reach it
            assert (attributes["tabindex"], attributes["role"]) == ("0", "group") and attributes["aria-label"]
    assert all("aria-label" in attributes for tag, attributes in page.elements if tag == "nav")


async def test_it_is_made_once_and_fetched_when_it_changed(http: httpx2.AsyncClient) -> None:
    first = await http.get("/docs")
    again = await http.get("/docs", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert (await http.get("/docs", headers={"If-None-Match": '"another"'})).content == first.content
    assert 'href="/docs"' in (await http.get("/login")).text, "the foot of each page leads there"


async def test_what_a_pack_brings_is_shown_as_well(services: Services) -> None:
    async def handler(call: Any) -> Any:
        raise AssertionError

    listed = next(route for route in TABLE if route.name == "listJobs")
    more = type(listed)(
        "GET", "/api/v1/packs/x", listed.access, handler, "listX", "List `x` & <y>", "x", answer=listed.answer
    )
    transport = httpx2.ASGITransport(app=create_app(services, more=[more]))
    async with httpx2.AsyncClient(transport=transport, base_url="http://cronsvc.test") as http:
        shown = Page((await http.get("/docs")).text)
    assert "List x & <y>." in shown.texts["listX"]
    assert all(route.door in (Door.API, Door.PAGE) and route.name in shown.texts for route in TABLE)


@pytest.mark.parametrize(
    ("schema", "words", "bounds"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "whole number", ("1 to 9",)),
        ({"type": "integer", "minimum": 1, "maximum": 2**63 - 1}, "whole number", ("at least 1",)),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 9}, "number", ("at most 9", "above 0")),
        ({"type": "string", "maxLength": 9, "pattern": "^a$"}, "text", ("at most 9 characters", "matches `^a$`")),
        ({"type": "string", "format": "date-time"}, "instant (RFC 3339)", ()),
        ({"anyOf": [{"type": "string", "minLength": 2}, {"type": "null"}]}, "text or null", ("at least 2 characters",)),
        ({"type": "array", "items": {"$ref": "#/x/Job"}, "maxItems": 5}, "list of Job", ("at most 5 items",)),
        ({"type": "object", "additionalProperties": {"type": "boolean"}}, "object of true or false", ()),
        ({"type": "object", "additionalProperties": True}, "object", ()),
        ({"enum": ["a", 1]}, '"a" or 1', ()),
        ({"const": "a"}, '"a"', ()),
        ({"$ref": "#/x/Few"}, '"a" or "b"', ()),
        ({"$ref": "#/x/Many"}, "Many", ()),
        ({}, "any value", ()),
    ],
)
def test_schemas_in_words(schema: dict[str, Any], words: str, bounds: tuple[str, ...]) -> None:
    definitions = {"Job": {"title": "Job"}, "Few": {"enum": ["a", "b"]}, "Many": {"enum": list(range(9))}}
    (field,) = fields_of({"properties": {"x": schema}, "required": ["x"]}, definitions)
    assert "".join(part.text for part in field.type) == words
    assert (field.bounds, field.is_required) == (bounds, True)


def test_a_schema_that_is_named_can_be_followed() -> None:
    assert type_of({"$ref": "#/components/schemas/Job-Input"}, {"Job-Input": {"title": "Job"}}) == (
        Part("Job", "schema-Job-Input"),
    )


def test_defaults_and_examples_are_told() -> None:
    schema = {"properties": {"x": {"type": "string", "default": "a", "description": "Said", "examples": ["b"]}}}
    (field,) = fields_of(schema, {})
    assert (field.default, field.description, field.is_required) == ('"a"', 'Said; such as `"b"`', False)
