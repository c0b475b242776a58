"""How a function that makes a call becomes a method of both clients.

A group such as `client.jobs` names its operations once. On the sync client a method returns the answer, on the async
one an awaitable of it; a list is iterated with `for` or `async for`, page after page. Type checkers see which is which.
"""

import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, Never, ParamSpec, Protocol, TypeVar, overload

from cronsvc.client.calls import Call, Item, Paged, PageT

P = ParamSpec("P")
T = TypeVar("T")


class Sends(Protocol):
    def send(self, call: Call[T]) -> T: ...


class SendsLater(Protocol):
    async def send(self, call: Call[T]) -> T: ...


class SyncPart:
    """A group of operations of the sync client."""

    __slots__ = ("_client",)

    def __init__(self, client: Sends) -> None:
        self._client = client


class AsyncPart:
    """A group of operations of the async client."""

    __slots__ = ("_client",)

    def __init__(self, client: SendsLater) -> None:
        self._client = client


class Operation(Generic[P, T]):
    """A method that sends one call."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "Operation[P, T]": ...
    @overload
    def __get__(self, instance: SyncPart, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, instance: AsyncPart, owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, instance: SyncPart | AsyncPart | None, owner: type) -> Any:
        if instance is None:
            return self
        client = instance._client

        @functools.wraps(self.describe)
        def method(*args: P.args, **options: P.kwargs) -> Any:
            return client.send(self.describe(*args, **options))

        return method


class Listing(Generic[P, Item, PageT]):
    """A method that lists, over all pages."""

    def __init__(self, describe: Callable[P, Paged[Item, PageT]]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "Listing[P, Item, PageT]": ...
    @overload
    def __get__(self, instance: SyncPart, owner: type) -> "Callable[P, Pages[Item, PageT]]": ...
    @overload
    def __get__(self, instance: AsyncPart, owner: type) -> "Callable[P, AsyncPages[Item, PageT]]": ...
    def __get__(self, instance: SyncPart | AsyncPart | None, owner: type) -> Any:
        if instance is None:
            return self

        @functools.wraps(self.describe)
        def method(*args: P.args, **options: P.kwargs) -> Any:
            paged = self.describe(*args, **options)
            if isinstance(instance, SyncPart):
                return Pages(instance._client, paged)
            return AsyncPages(instance._client, paged)

        return method


class Pages(Generic[Item, PageT]):
    """The items of a list. Each iteration asks anew, one page at a time and no further than it goes."""

    __slots__ = ("_client", "_paged")

    def __init__(self, client: Sends, paged: Paged[Item, PageT]) -> None:
        self._client = client
        self._paged = paged

    def __bool__(self) -> Never:
        raise TypeError("a list is not asked for until it is iterated: see first_page(), or make a list of it")

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from page.items

    def first_page(self) -> PageT:
        """The first page, with its `next_cursor`."""
        return self._client.send(self._paged.first)

    def pages(self) -> Iterator[PageT]:
        """The pages one by one."""
        call: Call[PageT] | None = self._paged.first
        while call is not None:
            page = self._client.send(call)
            yield page
            call = self._paged.following(page)


class AsyncPages(Generic[Item, PageT]):
    """The items of a list. Each iteration asks anew, one page at a time and no further than it goes."""

    __slots__ = ("_client", "_paged")

    def __init__(self, client: SendsLater, paged: Paged[Item, PageT]) -> None:
        self._client = client
        self._paged = paged

    def __bool__(self) -> Never:
        raise TypeError("a list is not asked for until it is iterated: see first_page(), or make a list of it")

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def first_page(self) -> PageT:
        """The first page, with its `next_cursor`."""
        return await self._client.send(self._paged.first)

    async def pages(self) -> AsyncIterator[PageT]:
        """The pages one by one."""
        call: Call[PageT] | None = self._paged.first
        while call is not None:
            page = await self._client.send(call)
            yield page
            call = self._paged.following(page)
