"""HTTP for tools that follow a model's words: it reaches public addresses only, and takes only so much, for so long.

A name is resolved once, every address it has is checked, and the connection goes to a checked address itself; so neither
a redirect nor a name that changes its address between two lookups (DNS rebinding) reaches this machine, its neighbours or
the metadata service of a cloud. `Host` and TLS still see the name. The one exception is the origin that the user named as
a tool's `url`: exactly that scheme, host and port may be private.

Proxies of the environment are ignored: a proxy resolves names itself, where nothing here can check them. `SSL_CERT_FILE`
is honoured. What is not bounded here: a lookup of a name takes as long as the system's resolver lets it.
"""

import ipaddress
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore
import httpx

from sparkctl.tools.observation import ToolFailed

MAX_BYTES = 2_000_000
"""Of a body, packed and unpacked."""
MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)
"""Upper half of the last 64 bits of an address that an IPv4 address follows (RFC 5214, section 6.1)."""
_NEIGHBOURS = tuple(map(ipaddress.ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
"""Counted as global by Python, and no public service: Azure's host (DHCP, keys, health of the machine); protocol
assignments (RFC 6890), in which Oracle's cloud has its metadata at .192; relays of 6to4 (RFC 7526); examples (RFC 9637)."""

Origin = tuple[str, str, int]


class Refused(ToolFailed):
    """What this client does not do, whatever a server asks."""


class Unreachable(ToolFailed):
    """No connection, or one that was cut: another try may help."""


@dataclass(frozen=True)
class Answer:
    """A response, read to its end and unpacked."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet; one inside IPv6 (mapped, 6to4, NAT64, ISATAP) must be so too."""
    ip = ipaddress.ip_address(address)
    if any(ip.version == near.version and ip in near for near in _NEIGHBOURS):
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return ip.is_global and not ip.is_multicast
    inner = ip.ipv4_mapped or ip.sixtofour
    if inner is None and (ip in _NAT64 or _is_isatap(ip)):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if inner is not None and not is_public(str(inner)):
        return False
    # A form that only carries IPv4 (mapped, 6to4, NAT64) is no address of its own; Python calls some of them private.
    return _carries(ip) or (ip in _UNICAST and ip.is_global)


def _is_isatap(ip: ipaddress.IPv6Address) -> bool:
    return (int(ip) >> 32) & 0xFFFFFFFF in _ISATAP


def _carries(ip: ipaddress.IPv6Address) -> bool:
    return ip.ipv4_mapped is not None or ip.sixtofour is not None or ip in _NAT64


def origin(url: httpx.URL) -> Origin:
    """(scheme, host, port) of a URL; the host as it is sent, for what is sent need not be a name that can be shown."""
    return url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS.get(url.scheme, 0)


class PublicHttp:
    """GET over guarded connections; one request at a time, for it keeps one clock.

    `own`: a URL whose exact origin may be private. `timeout_s`: seconds for a whole answer, redirects included.
    """

    def __init__(self, *, own: str | None, timeout_s: float, user_agent: str) -> None:
        self._own = origin(httpx.URL(own)) if own else None
        self._timeout_s = timeout_s
        self._ends = 0.0
        # gzip is asked for by Wikimedia's etiquette, and the one packing that is unpacked here within bounds.
        self._headers = {"User-Agent": user_agent, "Accept-Encoding": "gzip"}
        self._public = _Transport(_Network(self._left, private_too=False))
        self._private = _Transport(_Network(self._left, private_too=True))

    def get(self, url: str, parameters: Mapping[str, Any], secrets: Mapping[str, str]) -> Answer:
        """The answer after at most five redirects. `secrets`: headers that only the first origin is sent.

        Raises Refused, Unreachable, or ToolFailed where time ran out or the body cannot be unpacked.
        """
        self._ends = time.monotonic() + self._timeout_s
        target = first = httpx.URL(url, params=dict(parameters))
        for _ in range(MAX_REDIRECTS + 1):
            headers = secrets if origin(target) == origin(first) else {}
            found = self._once(_allowed(target), headers)
            if isinstance(found, Answer):
                return found
            if (target.scheme, found.scheme) == ("https", "http"):
                raise Refused("redirect from https to http refused")
            target = found
        raise Refused(f"more than {MAX_REDIRECTS} redirects")

    def close(self) -> None:
        """Close the connections that are kept."""
        self._public.close()
        self._private.close()

    def _left(self) -> float:
        """Seconds until the answer must be whole. Raises a timeout where there are none."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout
        return left

    def _once(self, url: httpx.URL, headers: Mapping[str, str]) -> Answer | httpx.URL:
        """The answer, or where it redirects to."""
        # Not through httpx.Client: it looks at redirects even where it does not follow them, keeps cookies, reads proxies.
        transport = self._private if origin(url) == self._own else self._public
        try:
            request = httpx.Request("GET", url, headers={**self._headers, **headers})
            with closing(transport.handle_request(request)) as response:
                if response.has_redirect_location:
                    return url.join(response.headers["location"])
                return Answer(response.status_code, response.headers, _body(response))
        except httpx.TimeoutException:
            raise ToolFailed(f"no answer within {self._timeout_s:g} s") from None
        except (httpx.InvalidURL, UnicodeError):
            raise Refused("redirect to what is no address") from None
        except httpx.TransportError as fault:
            raise Unreachable(f"no connection ({type(fault).__name__})") from None


class _Transport(httpx.HTTPTransport):
    """httpx's own, over a pool whose connections are opened by `network`; httpx has no argument for that."""

    def __init__(self, network: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(ssl_context=_tls(), network_backend=network)


@cache
def _tls() -> ssl.SSLContext:
    """The certificates that are trusted; reading them takes 25 ms."""
    return httpx.create_ssl_context()


class _Network(httpcore.NetworkBackend):
    """Opens connections to addresses that were checked, under the request's clock."""

    def __init__(self, left: Callable[[], float], *, private_too: bool) -> None:
        self._left, self._private_too = left, private_too
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        fault: Exception = httpcore.ConnectError("no address")
        for address in self._addresses(host, port):
            try:
                stream = self._sockets.connect_tcp(address, port, self._left(), local_address, socket_options)
                return _Timed(stream, self._left)
            except httpcore.ConnectError as error:  # the next address may answer, such as IPv4 after IPv6
                fault = error
        raise fault

    def _addresses(self, host: str, port: int) -> list[str]:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("name not known") from None
        addresses = [str(entry[4][0]) for entry in found]
        private = [] if self._private_too else [a for a in addresses if not is_public(a)]
        if private:  # one is enough: a name that has both kinds is no public service
            raise Refused(f"{host[:100]} refused: {private[0]} is not a public address")
        return addresses


class _Timed(httpcore.NetworkStream):
    """A connection whose every read and write ends with the request's clock: a server cannot drip for ever."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream, self._left = stream, left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _allowed(url: httpx.URL) -> httpx.URL:
    if url.scheme not in _PORTS:
        raise Refused(f"scheme '{url.scheme[:20]}' refused: only http and https")
    if url.userinfo or not url.raw_host:
        raise Refused("an address with credentials or without a host refused")
    return url


def _body(response: httpx.Response) -> bytes:
    """The body, unpacked. Raises Refused as soon as it is too large, before more of it is read or unpacked."""
    packed = bytearray()
    for chunk in response.iter_raw():
        packed += chunk
        if len(packed) > MAX_BYTES:
            raise Refused(f"answer larger than {MAX_BYTES} bytes")
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing == "identity":
        return bytes(packed)
    if packing != "gzip":
        raise ToolFailed(f"answer packed as '{packing[:20]}', which was not asked for")
    return _unpacked(bytes(packed))


def _unpacked(packed: bytes) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        body = unpacker.decompress(packed, MAX_BYTES + 1)
    except zlib.error:
        raise ToolFailed("answer cannot be unpacked") from None
    if len(body) > MAX_BYTES:
        raise Refused(f"answer larger than {MAX_BYTES} bytes")
    if not unpacker.eof:
        raise ToolFailed("answer cannot be unpacked")
    return body
