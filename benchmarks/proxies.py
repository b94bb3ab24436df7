"""nginx and a proxy on node, beside the pass-through where they are installed."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.processes import SERVER, Server, free_port, running, until_answers

_NGINX: Final = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    upstream provider {{ server {upstream}; keepalive 512; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://provider;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header X-API-Key t;
        }}
    }}
}}
"""

_NODE: Final = """\
const http = require("node:http");
const [host, port, listen] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true, maxSockets: 512 });
http.createServer((request, response) => {
  const { connection, ...headers } = request.headers;
  const options = { host, port, agent, method: request.method, path: request.url };
  const forwarded = http.request({ ...options, headers: { ...headers, "x-api-key": "t" } }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  forwarded.on("error", () => response.destroy());
  request.pipe(forwarded);
}).listen({ host: "127.0.0.1", port: Number(listen), backlog: 1024 });
"""


def nginx_settings(upstream: str, port: int, folder: Path) -> str:
    """The configuration file: one process that forwards everything, over connections that it keeps."""
    return _NGINX.format(upstream=urlsplit(upstream).netloc, port=port, folder=folder)


def missing() -> list[str]:
    """The names of those that are not installed."""
    return [name for name in ("nginx", "node") if shutil.which(name) is None]


@contextmanager
def proxies(upstream: Server, folder: Path) -> Iterator[dict[str, Server]]:
    """Run those that are installed, by name."""
    with ExitStack() as stack:
        found = {}
        if (program := shutil.which("nginx")) is not None:
            port, file = free_port(), folder / "nginx.conf"
            file.write_text(nginx_settings(upstream.url, port, folder))
            found["nginx"] = _run(stack, [program, "-p", str(folder), "-c", str(file)], port)
        if (program := shutil.which("node")) is not None:
            port, file, at = free_port(), folder / "proxy.cjs", urlsplit(upstream.url)
            file.write_text(_NODE)
            found["node"] = _run(stack, [program, str(file), str(at.hostname), str(at.port), str(port)], port)
        yield found


def _run(stack: ExitStack, command: list[str], port: int) -> Server:
    process = stack.enter_context(running(command, processor=SERVER))
    url = f"http://127.0.0.1:{port}"
    until_answers(process, f"{url}/api/v1/user")
    return Server(url, process.pid)
