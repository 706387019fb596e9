"""What must hold of the guard: only public addresses are reached, whatever a redirect or a name says, and an answer takes
so much time and room at most. Every server is a real one on loopback."""

import datetime
import ipaddress
import random
import socket
import ssl
import time
import tracemalloc
from collections import Counter

import pytest

from helpers import web_server
from helpers.web_server import WebServer, redirect, says
from sparkctl.tools.live import public_http
from sparkctl.tools.live.public_http import MAX_BYTES, PublicHttp, Refused, Unreachable, is_public
from sparkctl.tools.observation import ToolFailed


@pytest.fixture
def other():
    found = WebServer()
    yield found
    found.close()


@pytest.fixture
def http(server):
    """A client to which the server's origin, and no other, is allowed."""
    with_own = client(server.url)
    yield with_own
    with_own.close()


def client(own=None, timeout_s=2.0):
    return PublicHttp(own=own, timeout_s=timeout_s, user_agent="test")


@pytest.fixture
def names(monkeypatch):
    """Names with the addresses that each further lookup gives; the last one stays. And the names looked up."""
    known, asked, real = {}, [], socket.getaddrinfo

    def lookup(host, port, *rest, **more):
        if host not in known:
            return real(host, port, *rest, **more)
        asked.append(host)
        found = known[host].pop(0) if len(known[host]) > 1 else known[host][0]
        if found is None:
            raise socket.gaierror("name not known")
        return [entry for address in found for entry in real(address, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    return known, asked


PRIVATE = """
127.0.0.1 127.255.255.254 0.0.0.0 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 192.0.2.1 198.18.0.1
224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 :: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 fe80::1
fe80::1%lo fc00::1 fd00:ec2::254 fec0::1 ff02::1 ff0e::1 2001:db8::1 2001:0:7f00:1:: 100::1
2002:7f00:1:: 2002:a9fe:a9fe:: 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1
168.63.129.16 ::ffff:168.63.129.16 2002:a83f:8110:: 64:ff9b::a83f:8110 192.0.0.192 192.0.0.9 192.88.99.1 3fff::1
::ffff:0:10.0.0.1 2606:4700::5efe:10.0.0.1 2606:4700::200:5efe:169.254.169.254 2606:4700::5efe:168.63.129.16
2001:0:4136:e378:8000:63bf:f5ff:fffe fe80::5efe:8.8.8.8
"""
PUBLIC = "2606:4700::200:5efe:8.8.8.8 2002:808:808::1 168.63.129.17 192.0.1.1 8.8.8.8 93.184.216.34 2606:4700::1111 2a02:ec80:300:ed1a::1 ::ffff:8.8.8.8 64:ff9b::808:808"


@pytest.mark.parametrize("address", PRIVATE.split())
def test_these_addresses_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_these_addresses_are_public(address):
    assert is_public(address)


def test_a_private_address_is_refused_and_nothing_is_sent(server):
    with pytest.raises(Refused, match=r"127\.0\.0\.1 is not a public address"):
        client().get(f"{server.url}/search", {}, {})
    assert server.seen == []


def test_the_origin_that_the_user_named_may_be_private(server, http):
    server.then(says("fine"))
    assert http.get(f"{server.url}/x", {"q": "ä b"}, {}).text == "fine"
    assert server.seen[0].parameters == {"q": "ä b"}


@pytest.mark.parametrize(
    "spelling",
    [
        "127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "localhost", "LOCALHOST.", "[::1]",
        "[::ffff:127.0.0.1]", "[::]", "①②⑦.⓪.⓪.①",
    ],
)  # fmt: skip
def test_a_redirect_to_another_port_of_this_machine_is_refused_however_it_is_spelt(server, other, http, spelling):
    server.then(redirect(f"http://{spelling}:{other.port}/secret"))
    with pytest.raises(ToolFailed):
        http.get(f"{server.url}/x", {}, {})
    assert len(server.seen) == 1
    assert other.seen == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_redirect_to_the_metadata_of_a_cloud_is_refused(server, http, scheme):
    server.then(redirect(f"{scheme}://169.254.169.254/latest/meta-data/"))
    with pytest.raises(Refused, match=r"169\.254\.169\.254 is not a public"):
        http.get(f"{server.url}/x", {}, {})


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("file:///etc/passwd", "scheme 'file'"),
        ("gopher://127.0.0.1/x", "scheme 'gopher'"),
        ("ftp://example.org/", "scheme 'ftp'"),
        ("http://user:word@example.org/", "credentials"),
        ("javascript:1", "scheme 'javascript'"),
        ("http://127.0.0.1@example.org/", "credentials"),
        ("http://[::1", "no address"),
        ("http://xn--/", "no address"),
    ],
)
def test_a_redirect_to_what_is_no_plain_web_address_is_refused(server, http, to, why):
    server.then(redirect(to))
    with pytest.raises(Refused, match=why):
        http.get(f"{server.url}/x", {}, {})


def test_the_exception_is_for_one_scheme_host_and_port(server, http):
    server.then(redirect(f"https://127.0.0.1:{server.port}/"))
    with pytest.raises(Refused, match="not a public address"):
        http.get(f"{server.url}/x", {}, {})
    server.then(redirect(f"http://localhost:{server.port}/"))
    with pytest.raises(Refused, match="not a public address"):
        http.get(f"{server.url}/x", {}, {})


def test_a_redirect_within_the_origin_is_followed(server, http):
    server.then(redirect("/there?a=1", 307), redirect("here", 301), says("arrived"))
    assert http.get(f"{server.url}/x/y", {"q": "1"}, {}).text == "arrived"
    assert [s.path for s in server.seen] == ["/x/y", "/there", "/here"]
    assert [s.parameters for s in server.seen] == [{"q": "1"}, {"a": "1"}, {}]


def test_five_redirects_are_followed_and_no_sixth(server, http):
    server.then(*[redirect("/x")] * 5, says("arrived"))
    assert http.get(f"{server.url}/x", {}, {}).text == "arrived"
    server.seen.clear()
    server.always = web_server.loop
    with pytest.raises(Refused, match="more than 5 redirects"):
        http.get(f"{server.url}/x", {}, {})
    assert len(server.seen) == 6


def test_a_name_with_a_private_address_is_refused(server, names):
    known, _ = names
    known["intern.test"] = [["127.0.0.1"]]
    known["both.test"] = [["93.184.216.34", "10.0.0.1"]]
    with pytest.raises(Refused, match=r"intern.test refused: 127\.0\.0\.1"):
        client().get(f"http://intern.test:{server.port}/", {}, {})
    with pytest.raises(Refused, match=r"both.test refused: 10\.0\.0\.1"):
        client().get(f"http://both.test:{server.port}/", {}, {})
    assert server.seen == []


def test_a_name_is_looked_up_once_so_that_its_second_address_is_never_used(server, names, monkeypatch):
    known, asked = names
    known["rebind.test"] = [["127.0.0.2"], ["127.0.0.1"]]
    monkeypatch.setattr(public_http, "is_public", lambda address: address == "127.0.0.2")  # where nobody listens
    with pytest.raises(Unreachable):
        client().get(f"http://rebind.test:{server.port}/", {}, {})
    assert asked == ["rebind.test"]
    assert server.seen == []


def test_the_checked_address_is_the_one_that_is_connected_to(server, names, monkeypatch):
    known, asked = names
    known["wiki.test"] = [["127.0.0.1"], ["10.0.0.1"]]
    monkeypatch.setattr(public_http, "is_public", lambda address: address == "127.0.0.1")
    server.then(says("fine"))
    http = client()
    assert http.get(f"http://wiki.test:{server.port}/", {}, {}).text == "fine"
    http.close()
    assert asked == ["wiki.test"]
    assert server.seen[0].headers["host"] == f"wiki.test:{server.port}"


def test_an_address_that_does_not_answer_gives_way_to_the_next(server, names, monkeypatch):
    known, _ = names
    known["wiki.test"] = [["::1", "127.0.0.1"]]
    monkeypatch.setattr(public_http, "is_public", lambda address: True)
    server.then(says("fine"))
    http = client()
    assert http.get(f"http://wiki.test:{server.port}/", {}, {}).text == "fine"
    http.close()


@pytest.mark.parametrize("found", [[], None])
def test_a_name_that_nobody_knows_is_unreachable(names, found):
    known, _ = names
    known["nobody.test"] = [found]
    with pytest.raises(Unreachable):
        client().get("http://nobody.test/", {}, {})


def test_a_secret_is_sent_to_the_first_origin_only(server, other, monkeypatch):
    monkeypatch.setattr(public_http, "is_public", lambda address: True)
    http = client(server.url)
    server.then(redirect("/again"), redirect(f"{other.url}/elsewhere"))
    other.then(says("fine"))
    assert http.get(f"{server.url}/x", {}, {"x-api-key": "s3cret"}).text == "fine"
    http.close()
    assert [s.headers.get("x-api-key") for s in (*server.seen, *other.seen)] == ["s3cret", "s3cret", None]


def test_proxies_of_the_environment_are_ignored(server, other, http, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, other.url)
    server.then(says("fine"))
    assert http.get(f"{server.url}/x", {}, {}).text == "fine"
    assert other.seen == []


@pytest.mark.parametrize("fault", [web_server.hang, web_server.drip_body, web_server.drip_head])
def test_an_answer_takes_no_longer_than_it_may(server, fault):
    http = client(server.url, timeout_s=0.3)
    server.then(fault)
    begun = time.monotonic()
    with pytest.raises(ToolFailed, match=r"no answer within 0\.3 s"):
        http.get(f"{server.url}/x", {}, {})
    assert time.monotonic() - begun < 1.0
    server.then(says("fine"))
    assert http.get(f"{server.url}/x", {}, {}).text == "fine"
    http.close()


def test_redirects_share_one_clock(server):
    http = client(server.url, timeout_s=0.4)

    def slow(handler, seen):
        handler.server.ended.wait(0.15)
        web_server.loop(handler, seen)

    server.always = slow
    begun = time.monotonic()
    with pytest.raises(ToolFailed, match="no answer within"):
        http.get(f"{server.url}/x", {}, {})
    http.close()
    assert time.monotonic() - begun < 0.8


def test_a_cut_connection_is_unreachable(server, http):
    server.then(web_server.cut)
    with pytest.raises(Unreachable):
        http.get(f"{server.url}/x", {}, {})


def test_whatever_bytes_a_server_sends_it_is_an_answer_or_a_failure(server, http):
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\nLocation: /x\r\n\r\nhello"
    dice, ends = random.Random(7), Counter()
    for _ in range(200):
        spoilt = bytearray(whole)
        for _ in range(dice.randint(0, 3)):
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        server.then(web_server.raw(bytes(spoilt)))
        try:
            ends[type(http.get(f"{server.url}/search", {}, {}))] += 1
        except ToolFailed as failure:
            ends[type(failure)] += 1
    assert ends[Unreachable] > 10
    assert ends[ToolFailed] > 10


def test_of_a_huge_body_no_more_is_read_than_is_allowed(server, http):
    server.then(web_server.huge)
    with pytest.raises(Refused, match=f"larger than {MAX_BYTES}"):
        http.get(f"{server.url}/x", {}, {})
    assert server.sent < 20_000_000  # what the sockets' buffers hold besides


def test_a_bomb_is_not_unpacked(server, http):
    web_server._bomb()
    server.then(web_server.bomb)
    tracemalloc.start()
    with pytest.raises(Refused, match=f"larger than {MAX_BYTES}"):
        http.get(f"{server.url}/x", {}, {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * MAX_BYTES  # of 100 MB


@pytest.mark.parametrize(
    ("packing", "body"), [("br", "x"), ("gzip", "no gzip"), ("gzip, gzip", "x"), ("deflate", "x"), ("gzip", "")]
)
def test_what_cannot_be_unpacked_is_a_failure(server, http, packing, body):
    server.then(says(body, Content_Encoding=packing))
    with pytest.raises(ToolFailed, match=r"packed as|unpacked"):
        http.get(f"{server.url}/x", {}, {})


@pytest.fixture
def tls(tmp_path, monkeypatch, names):
    """A server with a certificate for wiki.test, trusted through SSL_CERT_FILE; wiki.test and other.test lead to it."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "wiki.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("wiki.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = serialization.Encoding.PEM
    (tmp_path / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    public_http._tls.cache_clear()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    asked = []
    context.sni_callback = lambda sock, name, _: asked.append(name)
    names[0].update({name: [["127.0.0.1"]] for name in ("wiki.test", "other.test")})
    server = WebServer(context)
    yield server, asked
    server.close()
    public_http._tls.cache_clear()


def test_tls_is_checked_against_the_name_not_the_address(tls):
    server, asked = tls
    server.then(says("fine"))
    http = client(f"https://wiki.test:{server.port}")
    assert http.get(f"https://wiki.test:{server.port}/", {}, {}).text == "fine"
    http.close()
    assert asked == ["wiki.test"]
    assert server.seen[0].headers["host"] == f"wiki.test:{server.port}"
    wrong = client(f"https://other.test:{server.port}")
    with pytest.raises(Unreachable):
        wrong.get(f"https://other.test:{server.port}/", {}, {})
    wrong.close()
    assert len(server.seen) == 1


def test_a_redirect_from_https_to_http_is_refused(tls):
    server, _ = tls
    server.then(redirect(f"http://wiki.test:{server.port}/"))
    http = client(f"https://wiki.test:{server.port}")
    with pytest.raises(Refused, match="from https to http"):
        http.get(f"https://wiki.test:{server.port}/", {}, {})
    http.close()


def test_every_address_of_the_private_networks_is_refused():
    # Their first and last addresses, plain and wrapped in the three kinds of IPv6 that carry an IPv4 address.
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "100.64.0.0/10"):
        for ip in (ipaddress.ip_network(network)[0], ipaddress.ip_network(network)[-1]):
            mapped, six, nat = (ipaddress.IPv6Address(p | int(ip) << s) for p, s in WRAPPED)
            assert not any(map(is_public, map(str, (ip, mapped, six, nat))))


WRAPPED = [(0xFFFF << 32, 0), (0x2002 << 112, 80), (int(ipaddress.IPv6Address("64:ff9b::")), 0)]
