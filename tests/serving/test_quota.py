"""Settings, addresses, and how often something may be done."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from streamlit import config

from serving.middleware.client_ip import UNKNOWN, client_address, is_among
from serving.operations.streamlit_options import options
from serving.queue.quota import Quota, TooMany
from serving.settings import BadSettings, Settings, reference, settings

# -- settings --------------------------------------------------------------------------------------


def test_settings_come_from_the_environment_as_it_is_now(monkeypatch):
    before = settings()
    assert settings() is before, "read once"
    monkeypatch.setenv("GEM_WAITING", "7")
    assert settings().waiting == 7 and before.waiting == 64
    monkeypatch.delenv("GEM_WAITING")
    assert settings().waiting == 64
    monkeypatch.setenv("GEM_STORE", "/a:/b::")
    assert [str(path) for path in settings().stores] == ["/a", "/b"]


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("GEM_WAITING", "0", "greater than or equal to 1"),
        ("GEM_WAITING", "many", "valid integer"),
        ("GEM_UPLOAD_MB", "65", "less than or equal to 64"),
        ("GEM_TRUSTED_PROXIES", "localhost", "does not appear to be an IPv4 or IPv6 network"),
    ],
)
def test_a_value_that_cannot_be_is_named_in_a_sentence(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    with pytest.raises(BadSettings, match=f"^{name} is '{value}': .*{said}") as error:
        settings()
    assert "\n" not in str(error.value)


def test_the_reference_has_a_heading_for_every_setting():
    parts = reference().split("### ")[1:]
    names = [part.partition("\n")[0].removeprefix("GEM_").lower() for part in parts]
    assert names == list(Settings.model_fields) and len(names) < 30
    assert all(field.description.endswith(".") for field in Settings.model_fields.values())
    waiting = next(part for part in parts if part.startswith("GEM_WAITING\n"))
    assert waiting.splitlines()[2].endswith("Default: `64`. Range: 1 to 10000.")
    assert not any("/stores/" in part for part in parts), "no path of this machine"


def test_streamlit_follows_the_settings():
    limits = Settings(upload_mb=5, forget_seconds=40, hosts="demo.example.org, *.example.net")
    assert options(limits) == {
        "server.allowedHosts": [
            "localhost",
            "127.0.0.1",
            "::1",
            "demo.example.org",
            "*.example.net",
        ],
        "server.maxUploadSize": 5,
        "server.disconnectedSessionTTL": 640,
    }
    assert set(options(limits)) <= set(config.get_config_options())


# -- address ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "trusted, peer, forwarded, expected",
    [
        # Nobody is trusted: the connection is what counts. The web server takes the header of a
        # connection from this machine for true by itself.
        ("", "9.9.9.9", [], "9.9.9.9"),
        ("", "9.9.9.9", ["1.1.1.1"], "9.9.9.9"),
        ("", "1.1.1.1", ["1.1.1.1"], "127.0.0.1"),
        ("", "1.1.1.1", ["8.8.8.8, 1.1.1.1"], "127.0.0.1"),
        ("", "9.9.9.9", ["9.9.9.9, 1.1.1.1"], "9.9.9.9"),
        # A proxy on this machine.
        ("127.0.0.1", "1.1.1.1", ["1.1.1.1"], "1.1.1.1"),
        ("127.0.0.1", "1.1.1.1", ["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        ("127.0.0.1", "9.9.9.9", ["1.1.1.1"], "9.9.9.9"),
        ("127.0.0.1", "127.0.0.1", [], "127.0.0.1"),
        # Two in a row, the outer one elsewhere.
        ("127.0.0.1,10.0.0.0/8", "10.0.0.7", ["6.6.6.6, 1.1.1.1, 10.0.0.7"], "1.1.1.1"),
        ("127.0.0.1,10.0.0.0/8", "10.0.0.7", ["6.6.6.6", "1.1.1.1", "10.0.0.7"], "1.1.1.1"),
        ("10.0.0.0/8", "10.0.0.7", ["1.1.1.1"], "1.1.1.1"),
        # What is no address, and what is written in another way.
        ("10.0.0.0/8", "10.0.0.7", ["<script>"], UNKNOWN),
        ("", "", [], UNKNOWN),
        ("", "testclient", [], UNKNOWN),
        ("", "::ffff:9.9.9.9", [], "9.9.9.9"),
        ("", "2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::/64"),
        ("", "2001:db8:1:2::ffff", [], "2001:db8:1:2::/64"),
        ("", "::1", [], "::1"),
    ],
)
def test_whose_address_counts(monkeypatch, trusted, peer, forwarded, expected):
    monkeypatch.setenv("GEM_TRUSTED_PROXIES", trusted)
    assert client_address(peer, forwarded) == expected


def test_networks():
    assert is_among("127.0.0.1", "127.0.0.0/8,::1") and is_among("::1", "127.0.0.0/8,::1")
    assert is_among("2001:db8::/64", "2001:db8::/32") and not is_among("8.8.8.8", "127.0.0.0/8")
    assert not is_among(UNKNOWN, "0.0.0.0/0,::/0") and not is_among("127.0.0.1", "")


# -- quota -----------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when they are told to: clock[0]."""
    now = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def small(**limits) -> Quota:
    return Quota(Settings(**limits))


def test_a_visitor_has_so_many_a_minute(clock):
    quota = small(searches_per_minute=3)
    for _ in range(3):
        quota.spend("search", "home", "a")
        clock[0] += 10
    with pytest.raises(TooMany, match="Try again in 30 seconds") as error:
        quota.spend("search", "home", "a")
    assert error.value.retry_after_seconds == 30
    quota.spend("search", "home", "b")
    clock[0] += 30.1
    quota.spend("search", "home", "a")
    with pytest.raises(TooMany):
        quota.spend("search", "home", "a")


def test_an_address_has_so_many_whoever_asks(clock):
    quota = small(uploads_per_minute=2)
    for visitor in "abcd":
        quota.spend("upload", "home", visitor)
    with pytest.raises(TooMany):
        quota.spend("upload", "home", "e")
    quota.spend("upload", "elsewhere", "e")
    quota.spend("search", "home", "e")
    clock[0] += 60.1
    quota.spend("upload", "home", "e")


def test_what_is_refused_is_not_counted(clock):
    quota = small(searches_per_minute=1)
    quota.spend("search", "home", "a")
    for _ in range(5):
        with pytest.raises(TooMany):
            quota.spend("search", "home", "a")
    for visitor in "bcd":
        quota.spend("search", "home", visitor)


def test_what_its_address_is_refused_is_not_counted_for_a_visitor(clock):
    quota = small(searches_per_minute=1)
    for visitor in "bcde":
        quota.spend("search", "home", visitor)
    with pytest.raises(TooMany):
        quota.spend("search", "home", "a")
    quota.spend("search", "elsewhere", "a")


def test_threads_that_come_together_get_no_more_than_the_limit(clock, monkeypatch):
    callers, limit = 16, 5
    monkeypatch.setattr(Settings, "requests_per_minute_address", limit)
    quota = small()
    together, test = threading.Barrier(callers), quota._limiter.test

    def wait_for_the_others(*key):
        """Let all of them test before anybody counts, if they can: one that has to wait for the
        lock never comes here, and the first gives up waiting for it.
        """
        passed = test(*key)
        with suppress(threading.BrokenBarrierError):
            together.wait(0.2)
        return passed

    def spend(_) -> bool:
        try:
            quota.spend("request", "home")
        except TooMany:
            return False
        return True

    monkeypatch.setattr(quota._limiter, "test", wait_for_the_others)
    with ThreadPoolExecutor(callers) as pool:
        assert sum(pool.map(spend, range(callers))) == limit


def test_requests_count_by_address_alone(clock, monkeypatch):
    monkeypatch.setattr(Settings, "requests_per_minute_address", 2)
    quota = small()
    quota.spend("request", "home")
    quota.spend("request", "home")
    with pytest.raises(TooMany):
        quota.spend("request", "home")
