"""The demo: `streamlit run app.py`. Wiring only; the page is ui/page.py, the photo routes are
ui/routes.py.
"""

import streamlit as st

from ui.page import render
from ui.routes import ROUTES

if __name__ == "__main__":  # run as the page's script, for each visitor and each click
    render()
else:  # imported once, by the server
    app = st.App(__file__, routes=ROUTES)
