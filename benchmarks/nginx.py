"""nginx as the server: what it needs, its configuration, its process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.renderer import STORED_HEADER, SWITCHES, Switch

_ECHO_MODULES = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
_START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Nginx:
    """An nginx that is installed. `echo_module` is what delays answers; None: it cannot."""

    program: str
    echo_module: Path | None

    @property
    def switches(self) -> tuple[Switch, ...]:
        """The ways of answering that it has."""
        return tuple(each for each in SWITCHES if self.echo_module is not None or not each.delayed)


def installed() -> Nginx | None:
    """The nginx of this machine."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        return None
    modules = (Path(folder) / "ngx_http_echo_module.so" for folder in _ECHO_MODULES)
    return Nginx(program, next((path for path in modules if path.exists()), None))


@dataclass(frozen=True, slots=True)
class Site:
    """What to serve. `folder` is nginx's own; `ports` in the order of its switches."""

    folder: Path
    stored: Path
    files: Path
    renderer_port: int
    ports: Sequence[int]
    delay_seconds: float


def configuration(nginx: Nginx, site: Site) -> str:
    """Everything in memory and kept alive; one worker, as the client needs the other core."""
    temporary = "".join(
        f"  {kind}_temp_path {site.folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    servers = "".join(
        _server(site, port, switch) for port, switch in zip(site.ports, nginx.switches, strict=True)
    )
    module = f"load_module {nginx.echo_module};\n" if nginx.echo_module is not None else ""
    user = "user root;\n" if os.geteuid() == 0 else ""  # the data lie in a folder of ours alone
    return f"""{module}{user}worker_processes 1;
daemon off;
pid {site.folder}/pid;
error_log {site.folder}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  sendfile_max_chunk 2m;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_requests 1000000;
  keepalive_timeout 600s;
  types {{ }}
  open_file_cache max=8192 inactive=1h;
  open_file_cache_valid 1h;
{temporary}{servers}}}
"""


def _server(site: Site, port: int, switch: Switch) -> str:
    page = f"""root {site.stored}; default_type application/json;
      try_files /$path/at-$arg_limit-$arg_offset.json @render;"""
    if switch.delayed:
        api = f"""    location /api/v3/ {{
      echo_sleep {site.delay_seconds};
      echo_exec /delayed$uri $args;
    }}
    location ~ ^/delayed/api/v3/(?<path>.*)$ {{
      internal;
      {page}
    }}
"""
    else:
        api = f"    location ~ ^/api/v3/(?<path>.*)$ {{\n      {page}\n    }}\n"
    return f"""  server {{
    listen 127.0.0.1:{port} backlog=1024;
    gzip_static {"on" if switch.gzip else "off"};
{api}    location @render {{
      proxy_pass http://127.0.0.1:{site.renderer_port}$request_uri;
      proxy_set_header {STORED_HEADER} yes;
    }}
    location /stored/ {{ internal; alias {site.stored}/; }}
    location ~ ^/files/(?<experiment>[^/]+)/(?<name>.*)$ {{
      alias {site.files}/$experiment/files/$name;
      default_type video/mp4;
      autoindex on;
    }}
    location = /requests {{ stub_status; }}
  }}
"""


@contextmanager
def running(nginx: Nginx, site: Site) -> Iterator[None]:
    """nginx serves the site inside the block.

    Raises:
        RuntimeError: it does not start; with what it says.
    """
    site.folder.mkdir(parents=True)
    path = site.folder / "nginx.conf"
    path.write_text(configuration(nginx, site))
    command = [nginx.program, "-p", str(site.folder), "-c", str(path), "-e", f"{site.folder}/error.log"]
    if (setpriv := shutil.which("setpriv")) is not None:  # it ends even where this process is killed
        command = [setpriv, "--pdeathsig", "TERM", *command]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0) as process:
        try:
            _await_start(process, site)
            yield
        finally:
            process.terminate()


def _await_start(process: subprocess.Popen[bytes], site: Site) -> None:
    gives_up_at = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", site.ports[-1]), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > gives_up_at:
                log = (site.folder / "error.log").read_text(errors="replace")
                raise RuntimeError(f"nginx did not start: {log[-500:]}") from None
            time.sleep(0.02)
        else:
            return


class RequestCount:
    """How many requests the nginx with this plain port has had, those that ask for it not counted."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._asked = 0

    def __call__(self) -> int:
        self._asked += 1
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/requests", timeout=10) as answer:
            # Active connections: 1 / server accepts handled requests / 1 1 1 / Reading: …
            return int(answer.read().split(b"\n")[2].split()[2]) - self._asked
