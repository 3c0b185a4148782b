"""The demo: `streamlit run app.py`. Wiring only: the pages are ui/, the API is api/, and what
is between them and the engine is serving/.
"""

import streamlit as st

if __name__ == "__main__":  # run as the page's script, for each visitor and each click
    from ui.navigation import run

    run()
else:  # imported once, by the server
    from starlette.middleware import Middleware

    from api.routes import HEALTH
    from api.routes import ROUTES as API_ROUTES
    from serving.base_path import at_base_path
    from serving.connections import ConnectionLimits
    from serving.cross_origin import CrossOrigin
    from serving.hosts import KnownHosts
    from serving.lifespan import lifespan
    from serving.logs import log_as_json
    from serving.security_headers import SecurityHeaders
    from serving.streamlit_options import follow_settings
    from serving.uploads import UploadLimits
    from ui.routes import ROUTES as PHOTO_ROUTES

    log_as_json()
    follow_settings()  # a value that cannot be ends the server here, with a sentence

    app = st.App(
        __file__,
        routes=at_base_path([*PHOTO_ROUTES, *API_ROUTES], at_root=HEALTH),
        middleware=[
            Middleware(one)
            for one in (SecurityHeaders, KnownHosts, CrossOrigin, ConnectionLimits, UploadLimits)
        ],
        lifespan=lifespan,
    )
