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
    from serving.middleware.base_path import at_base_path
    from serving.middleware.connections import ConnectionLimits
    from serving.middleware.cross_origin import CrossOrigin
    from serving.middleware.hosts import KnownHosts
    from serving.middleware.security_headers import SecurityHeaders
    from serving.middleware.uploads import UploadLimits
    from serving.operations.lifespan import lifespan
    from serving.operations.logs import log_as_json
    from serving.operations.streamlit_options import follow_settings
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
