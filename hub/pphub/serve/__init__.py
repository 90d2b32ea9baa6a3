"""A hub of one's own: a folder of model repositories, served over HTTP.

``repos`` knows folders, revisions and hashes and nothing of HTTP; each protocol is a file of routes on top of
it (``huggingface``), so that several can share one server. ``body`` sends bytes, ``server`` runs the whole.

::

    with Server(Path("models")) as server:
        os.environ["HF_ENDPOINT"] = server.url

There are no accounts and no uploads: whoever reaches the port may read every repository of the folder.
"""

from pphub.serve.server import Server, build_app, serve_forever

__all__ = ["Server", "build_app", "serve_forever"]
