"""Which proxy leads where: the environment's variables, NO_PROXY, and a proxy that is named."""

import pytest

from api_client.http.proxies import EXPECTED, Proxies, ProxyServer, parse_proxy

A, B = ProxyServer("http", "a.test", 3128), ProxyServer("http", "b.test", 80)
SOCKS = ProxyServer("socks5", "a.test", 1080)


def test_each_scheme_has_the_proxy_of_its_variable() -> None:
    found = Proxies.from_environment({"HTTP_PROXY": "http://a.test:3128", "https_proxy": "b.test"})
    assert found.find("http://shop.test/") == A
    assert found.find("https://shop.test/") == B


def test_lower_case_goes_before_upper_case_and_an_empty_one_is_none() -> None:
    environ = {"HTTP_PROXY": "http://b.test", "http_proxy": "a.test:3128", "HTTPS_PROXY": ""}
    assert Proxies.from_environment(environ) == Proxies(A, None)


def test_a_header_of_a_cgi_script_s_caller_is_no_proxy() -> None:
    environ = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "http://b.test"}
    assert Proxies.from_environment(environ) == Proxies()
    assert Proxies.from_environment(environ | {"http_proxy": "a.test:3128"}) == Proxies(A, None)


def test_all_proxy_holds_for_a_scheme_without_a_variable_of_its_own() -> None:
    environ = {"ALL_PROXY": "http://a.test:3128", "HTTPS_PROXY": "http://b.test"}
    assert Proxies.from_environment(environ) == Proxies(A, B)


def test_none_goes_before_the_variables() -> None:
    assert Proxies.from_environment({"HTTPS_PROXY": "http://b.test"}, "none") == Proxies()


def test_without_variables_there_is_no_proxy() -> None:
    assert Proxies.from_environment({}) == Proxies()
    assert Proxies().find("https://shop.test/") is None


def test_what_is_no_url_has_no_proxy() -> None:
    assert Proxies(A, A).find("http://[::1") is None


@pytest.mark.parametrize(
    ("text", "host", "port", "is_named"),
    [
        ("shop.test", "shop.test", 443, True),
        ("shop.test", "www.shop.test", 443, True),
        (".shop.test", "shop.test", 443, True),
        ("*.shop.test", "www.shop.test", 443, True),
        ("else.test, SHOP.test", "shop.TEST.", 443, True),
        ("else.test shop.test", "shop.test", 443, True),
        ("shop.test:8443", "shop.test", 8443, True),
        ("*", "anything.test", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("127.0.0.1", "127.0.0.1", 8000, True),
        ("127.0.0.1:8000", "127.0.0.1", 8000, True),
        ("::1", "::1", 8000, True),
        ("[::1]:8000", "::1", 8000, True),
        ("fd00::/8", "fd12::1", 80, True),
        ("", "shop.test", 443, False),
        ("shop.test", "myshop.test", 443, False),
        ("www.shop.test", "shop.test", 443, False),
        ("shop.test:8443", "shop.test", 443, False),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "10.example.test", 80, False),
        ("127.0.0.1:8000", "127.0.0.1", 8001, False),
        ("::1", "::2", 80, False),
        ("[a]b]", "a", 80, False),
        (".", "shop.test", 80, False),
    ],
)
def test_no_proxy_names_hosts_and_networks(
    text: str, host: str, port: int, *, is_named: bool
) -> None:
    shown = f"[{host}]" if ":" in host else host
    assert Proxies(A, A, text).find(f"http://{shown}:{port}/") == (None if is_named else A)


def test_a_user_and_a_password_are_sent_as_they_were_meant_and_shown_nowhere() -> None:
    server = parse_proxy("http://us%40er:p%3Ass@a.test:3128/")
    assert server.authorization == "Basic dXNAZXI6cDpzcw=="
    assert (str(server), "Basic" in repr(server)) == ("http://a.test:3128", False)
    assert str(parse_proxy("http://[::1]:8080")) == "http://[::1]:8080"
    assert parse_proxy("http://user@a.test").authorization == "Basic dXNlcjo="


@pytest.mark.parametrize("url", ["socks5://a.test", "socks5h://a.test:1080/", "SOCKS5://A.test"])
def test_a_proxy_may_speak_socks_and_leads_to_servers_of_both_schemes(url: str) -> None:
    found = Proxies.from_environment({"ALL_PROXY": url})
    assert found.find("http://shop.test/") == found.find("https://shop.test/") == SOCKS
    assert str(SOCKS) == "socks5://a.test:1080"


def test_whole_requests_are_read_by_an_http_proxy_to_an_http_server_alone() -> None:
    assert Proxies(A, A).reader("HTTP://shop.test/") == A
    assert Proxies(A, A).reader("https://shop.test/") is None
    assert Proxies(A, A, "shop.test").reader("http://shop.test/") is None
    assert Proxies(SOCKS, SOCKS).reader("http://shop.test/") is None


@pytest.mark.parametrize(
    "url",
    [
        *("https://a.test", "socks4://a.test:1080", "http://", "http://a.test:0"),
        *("http://a.test:99999", "http://a.test/path", "http://a.test?q", "http://[::1", "a b"),
    ],
)
def test_a_url_that_is_no_proxys_is_refused_without_being_quoted(url: str) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        with pytest.raises(ValueError, match=name) as error:
            Proxies.from_environment({name: url})
        assert str(error.value) == f"{name}: {EXPECTED}"
