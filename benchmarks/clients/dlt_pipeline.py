"""dlt: a REST API source into files. As its first example has it, or tuned as far as its settings go.

Tuned: one resource for each slice of offsets, which is how dlt fetches one endpoint's pages concurrently; no
nested tables, no compression, larger buffers, two processes that normalize.
"""

import json
import os
import sys
from typing import Any

TUNED = {
    "NORMALIZE__WORKERS": "2",
    "NORMALIZE__START_METHOD": "spawn",
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
    "DATA_WRITER__BUFFER_MAX_ITEMS": "50000",
    "DATA_WRITER__FILE_MAX_ITEMS": "50000",
    "EXTRACT__WORKERS": "8",
    "EXTRACT__MAX_PARALLEL_ITEMS": "32",
    "LOAD__WORKERS": "4",
    "LOAD__DELETE_COMPLETED_JOBS": "true",
}
SLICES = 8


def main() -> None:
    task = json.loads(sys.argv[1])
    work = f"{task['out']}/work"
    os.environ |= {"DLT_DATA_DIR": work, "RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"}
    if task["tuned"]:
        os.environ |= TUNED

    import dlt
    from dlt.destinations import filesystem
    from dlt.sources.rest_api import rest_api_source

    client = {"base_url": task["base_url"] + "/", "headers": {"X-API-Key": os.environ["HYPERSTUDY_API_KEY"]}}
    source = rest_api_source({"client": client, "resources": resources(task)})
    lake = filesystem(bucket_url=f"{task['out']}/lake")
    pipeline = dlt.pipeline("bench", destination=lake, dataset_name="data", pipelines_dir=work)
    pipeline.run(source, loader_file_format="jsonl")


def resources(task: dict[str, Any]) -> list[dict[str, Any]]:
    (data_type, scope, scope_id), rows, page_rows = task["lists"][0], task["rows"], task["page_rows"]
    path = f"data/{data_type}/{scope}/{scope_id}"
    paginator = {
        "type": "offset",
        "limit": page_rows,
        "offset": 0,
        "limit_param": "limit",
        "offset_param": "offset",
        "total_path": "metadata.pagination.total",
    }
    endpoint = {"path": path, "data_selector": "data", "paginator": paginator}
    if not task["tuned"]:
        return [{"name": "events", "endpoint": endpoint, "write_disposition": "append"}]
    slice_rows = -(-rows // page_rows // SLICES) * page_rows
    return [
        {
            "name": f"events_{number}",
            "table_name": "events",
            "endpoint": endpoint | {"paginator": paginator | slice_of(start, min(rows, start + slice_rows))},
            "write_disposition": "append",
            "parallelized": True,
            "max_table_nesting": 0,
        }
        for number, start in enumerate(range(0, rows, slice_rows))
    ]


def slice_of(start: int, end: int) -> dict[str, Any]:
    return {"offset": start, "maximum_offset": end, "total_path": None}


if __name__ == "__main__":
    main()
