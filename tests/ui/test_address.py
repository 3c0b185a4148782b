"""What a visitor changed stays, even if the browser's next click still says the old address."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.conftest import PATIENCE


def script() -> None:
    import streamlit as st

    from ui.state.url_params import trust_next_url, values, write, write_all

    for part in ("1", "2"):
        st.button(part, on_click=write, args=("part", [part]))
    st.button("photo", on_click=write_all, args=({"photo": ["a", "b"], "part": []},))
    st.button("forget", on_click=trust_next_url)
    st.text(" ".join(values("photo")) + "|" + " ".join(values("part")))


def shown(app: AppTest) -> str:
    assert not app.exception
    return app.text[0].value


def press(app: AppTest, label: str) -> str:
    next(button for button in app.button if button.label == label).click()
    return shown(app.run())


def from_browser(app: AppTest, **address: list[str]) -> str:
    app.query_params.clear()
    app.query_params.update(address)
    return shown(app.run())


def test_an_old_address_undoes_nothing(monkeypatch):
    app = AppTest.from_function(script, default_timeout=PATIENCE)
    app.query_params["photo"] = ["x"]
    assert shown(app.run()) == "x|"
    assert press(app, "1") == "x|1" and press(app, "2") == "x|2"
    assert from_browser(app, photo=["x"]) == "x|2", "it has tr_known of neither"
    assert app.query_params["part"] in ("2", ["2"]), "and is told again"
    assert from_browser(app, photo=["x"], part=["1"]) == "x|2", "of the first only"
    assert from_browser(app, photo=["x"], part=["3"]) == "x|3", "a link may say anything else"
    assert press(app, "photo") == "a b|"
    assert from_browser(app, photo=["x"], part=["3"]) == "a b|"
    assert app.query_params["photo"] == ["a", "b"] and "part" not in app.query_params
    assert press(app, "1") == "a b|1"
    with monkeypatch.context() as back:
        back.setattr("ui.state.url_params.is_history_navigation", lambda: True)
        assert from_browser(app, photo=["x"]) == "x|", "who goes back is taken at their word"
    assert press(app, "1") == "x|1" and press(app, "forget") == "x|1"
    assert from_browser(app, photo=["x"]) == "x|"
