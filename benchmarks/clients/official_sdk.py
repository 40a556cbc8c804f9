"""The official SDK: its lists as dictionaries, then NDJSON; or its own download of recordings."""

import json
import sys
from pathlib import Path

import hyperstudy

_CALLS = {
    "events": "get_events",
    "chat": "get_chat",
    "videochat": "get_videochat",
    "sync": "get_sync",
    "ratings/continuous": "get_ratings",
    "components": "get_components",
    "participants": "get_participants",
}


def main() -> None:
    task = json.loads(sys.argv[1])
    client = hyperstudy.HyperStudy(base_url=task["base_url"])
    out = Path(task["out"])
    if task["files"]:
        client.download_recordings(task["experiment"], output_dir=str(out), progress=False)
        return
    with (out / "rows.ndjson").open("w", encoding="utf-8") as file:
        for data_type, scope, scope_id in task["lists"]:
            call = getattr(client, _CALLS[data_type])
            for row in call(scope_id, scope=scope, output="dict", progress=False):
                json.dump(row, file, separators=(",", ":"), ensure_ascii=False)
                file.write("\n")


if __name__ == "__main__":
    main()
