"""The application, started by `streamlit run app.py`: the pages of ui/, the API of api/ and the
limits of serving/.
"""

import streamlit as st

if __name__ == "__main__":  # the page's script, run for each visitor and each click
    from ui.navigation import run

    run()
else:  # the server imports it once
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
    follow_settings()  # an invalid setting stops the server here with a message

    app = st.App(
        __file__,
        routes=at_base_path([*PHOTO_ROUTES, *API_ROUTES], at_root=HEALTH),
        middleware=[
            Middleware(middleware_class)
            for middleware_class in (
                SecurityHeaders,
                KnownHosts,
                CrossOrigin,
                ConnectionLimits,
                UploadLimits,
            )
        ],
        lifespan=lifespan,
    )
