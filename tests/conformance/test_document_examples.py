"""Every example of the API's document, as it stands there, run against the lab with the tools it names.

Only the base URL and the placeholders for key and room are put in; the commands are otherwise the document's.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hsmirror.lab.data import MadeUpSource
from hsmirror.lab.keys import LabKey
from hsmirror.lab.server import Lab

BASE_URL = "https://api.hyperstudy.io/api/v3"
ROOM = "room_abc123"

Shell = Callable[..., subprocess.CompletedProcess[str]]


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


pytestmark = needs("bash", "curl")


@pytest.fixture(scope="module")
def lab(start_lab_in_thread) -> Lab[MadeUpSource]:
    return start_lab_in_thread(rooms=2, events_per_room=1300)


def put_in(text: str, lab: Lab[MadeUpSource], key: str) -> str:
    text = text.replace(BASE_URL, lab.base_url).replace("YOUR_ROOM_ID", ROOM)
    for placeholder in ("YOUR_API_KEY", "YOUR_KEY", "hst_live_your_key_here"):
        text = text.replace(placeholder, key)
    return text


@pytest.fixture
def shell(lab, tmp_path: Path) -> Shell:
    """`shell(script)` runs it with bash in a folder of its own; `key=`, `room=` and `arguments=` may differ."""

    def run(script: str, *, key: str = lab.key, room: str = ROOM, arguments: tuple[str, ...] = ()):
        path = tmp_path / "example.sh"
        path.write_text(put_in(script, lab, key).replace(ROOM, room))
        environment = os.environ | {"HYPERSTUDY_API_KEY": key}
        return subprocess.run(
            ["bash", str(path), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )

    return run


@pytest.fixture
def python(lab, tmp_path: Path) -> Shell:
    """`python(snippet)` runs it in a folder of its own, after what the document's other snippets set."""

    def run(snippet: str) -> subprocess.CompletedProcess[str]:
        preamble = "import requests\nAPI_KEY = 'YOUR_API_KEY'\nBASE_URL = '" + BASE_URL + "'\n"
        preamble += "headers = {'X-API-Key': API_KEY}\n"
        script = put_in(preamble + snippet, lab, lab.key)
        return subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )

    return run


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def of_room(lab: Lab[MadeUpSource], data_type: str, room: str = ROOM) -> list[dict[str, object]]:
    rows = lab.source.ledger_rows("exp_research_001", data_type)
    return [json.loads(row) for room_id, row in rows if room_id == room]


def test_events_example(shell):
    answer = json.loads(
        shell(
            """\
curl -H "X-API-Key: YOUR_KEY" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/room_abc123?limit=100&sort=onset&order=asc"
"""
        ).stdout
    )
    onsets = [row["onset"] for row in answer["data"]]
    assert len(onsets) == 100
    assert onsets == sorted(onsets)


def test_basic_request(shell):
    answer = json.loads(
        shell(
            """\
curl -H "X-API-Key: YOUR_API_KEY" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/YOUR_ROOM_ID?limit=10"
"""
        ).stdout
    )
    assert (answer["status"], len(answer["data"])) == ("success", 10)


def test_download_events_for_a_room(shell):
    answer = json.loads(
        shell(
            """\
# Get 100 events sorted by onset time
curl -H "X-API-Key: hst_live_your_key_here" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/room_abc123?limit=100&sort=onset&order=asc"
"""
        ).stdout
    )
    assert answer["metadata"]["pagination"]["returned"] == 100
    assert answer["metadata"]["query"]["sort"] == "onset"


def test_download_as_csv(shell, tmp_path):
    shell(
        """\
# Download events in CSV format
curl -H "X-API-Key: hst_live_your_key_here" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/room_abc123?format=csv" \\
  > events.csv
"""
    )
    rows = table(tmp_path / "events.csv")
    assert len(rows) == 1000
    assert {"id", "timestamp", "onset", "eventType", "response"} <= set(rows[0])


def test_get_participant_data(shell):
    answer = json.loads(
        shell(
            """\
# Get events for a specific participant in a room
curl -H "X-API-Key: hst_live_your_key_here" \\
  "https://api.hyperstudy.io/api/v3/data/events/participant/user_xyz789?roomId=room_abc123"
"""
        ).stdout
    )
    assert answer["data"]
    assert {row["participantId"] for row in answer["data"]} == {"user_xyz789"}


def test_filter_by_time_range(shell):
    answer = json.loads(
        shell(
            """\
# Get events from a specific time range
curl -H "X-API-Key: hst_live_your_key_here" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/room_abc123?startTime=2024-10-20T00:00:00Z&endTime=2024-10-21T00:00:00Z"
"""
        ).stdout
    )
    assert answer["data"]
    assert all(row["timestamp"].startswith("2024-10-20T") for row in answer["data"])


def test_download_multiple_data_types(shell, lab, tmp_path):
    finished = shell(
        """\
# Shell script to download all data types
API_KEY="hst_live_your_key_here"
ROOM_ID="room_abc123"
BASE_URL="https://api.hyperstudy.io/api/v3"

# Download events
curl -H "X-API-Key: $API_KEY" \\
  "$BASE_URL/data/events/room/$ROOM_ID?format=csv" \\
  > events.csv

# Download recordings
curl -H "X-API-Key: $API_KEY" \\
  "$BASE_URL/data/recordings/room/$ROOM_ID?format=csv" \\
  > recordings.csv

# Download chat
curl -H "X-API-Key: $API_KEY" \\
  "$BASE_URL/data/chat/room/$ROOM_ID?format=csv" \\
  > chat.csv

echo "Download complete!"
"""
    )
    assert finished.stdout == "Download complete!\n"
    assert len(table(tmp_path / "events.csv")) == 1000
    assert len(table(tmp_path / "chat.csv")) == len(of_room(lab, "chat"))
    recordings = table(tmp_path / "recordings.csv")
    assert len(recordings) == len(of_room(lab, "recordings"))
    assert all(row["downloadUrl"].startswith(lab.storage_url) for row in recordings)


def test_pagination_with_curl(shell, lab):
    finished = shell(
        """\
# Download with pagination
API_KEY="hst_live_your_key_here"
ROOM_ID="room_abc123"
OFFSET=0
LIMIT=1000

# First page
curl -H "X-API-Key: $API_KEY" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/$ROOM_ID?limit=$LIMIT&offset=$OFFSET"

# Second page
OFFSET=1000
curl -H "X-API-Key: $API_KEY" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/$ROOM_ID?limit=$LIMIT&offset=$OFFSET"
"""
    )
    decoder = json.JSONDecoder()
    first, end = decoder.raw_decode(finished.stdout)
    second, _ = decoder.raw_decode(finished.stdout[end:])
    total = len(of_room(lab, "events"))
    assert first["metadata"]["pagination"] == {
        "total": total,
        "returned": 1000,
        "hasMore": True,
        "nextOffset": 1000,
    }
    assert second["metadata"]["pagination"] == {"total": total, "returned": total - 1000, "hasMore": False}
    assert len({row["id"] for row in first["data"] + second["data"]}) == total


@needs("jq")
def test_pretty_print_with_jq(shell, lab):
    whole = shell(
        """\
curl -H "X-API-Key: hst_live_your_key_here" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/room_abc123?limit=5" \\
  | jq '.'
"""
    )
    data = shell(
        """\
# Extract just the data array
curl -H "X-API-Key: hst_live_your_key_here" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/room_abc123?limit=5" \\
  | jq '.data'
"""
    )
    count = shell(
        """\
# Get count of events
curl -H "X-API-Key: hst_live_your_key_here" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/room_abc123?limit=1" \\
  | jq '.metadata.pagination.total'
"""
    )
    assert json.loads(whole.stdout)["data"] == json.loads(data.stdout)
    assert len(json.loads(data.stdout)) == 5
    assert count.stdout.strip() == str(len(of_room(lab, "events")))


ERROR_HANDLING = """\
#!/bin/bash

API_KEY="hst_live_your_key_here"
ROOM_ID="room_abc123"

# Make request and capture HTTP status code
HTTP_STATUS=$(curl -s -o response.json -w "%{http_code}" \\
  -H "X-API-Key: $API_KEY" \\
  "https://api.hyperstudy.io/api/v3/data/events/room/$ROOM_ID")

if [ $HTTP_STATUS -eq 200 ]; then
  echo "Success! Retrieved data:"
  cat response.json | jq '.data | length'
  echo "events"
elif [ $HTTP_STATUS -eq 401 ]; then
  echo "Error: Invalid API key"
elif [ $HTTP_STATUS -eq 404 ]; then
  echo "Error: Room not found"
else
  echo "Error: HTTP $HTTP_STATUS"
  cat response.json
fi

rm response.json
"""


@needs("jq")
def test_error_handling_in_shell_scripts_where_all_is_well(shell):
    assert shell(ERROR_HANDLING).stdout == "Success! Retrieved data:\n1000\nevents\n"


def test_error_handling_in_shell_scripts_with_a_wrong_key(shell):
    assert shell(ERROR_HANDLING, key="hst_live_wrong").stdout == "Error: Invalid API key\n"


def test_error_handling_in_shell_scripts_with_an_unknown_room(shell):
    assert shell(ERROR_HANDLING, room="room_nowhere").stdout == "Error: Room not found\n"


def test_error_handling_in_shell_scripts_with_a_missing_scope(start_lab_in_thread, shell):
    narrow = start_lab_in_thread(rooms=1, keys=(LabKey("hst_test_narrow", frozenset({"read:chat"})),))
    script = ERROR_HANDLING.replace(BASE_URL, narrow.base_url)
    said = shell(script, key="hst_test_narrow").stdout
    status, body = said.split("\n", 1)
    assert status == "Error: HTTP 403"
    assert json.loads(body)["error"]["details"]["required"] == ["read:events"]


COMPLETE_DOWNLOAD = """\
#!/bin/bash
# complete_download.sh - Download all data for a room

set -e  # Exit on error

# Configuration
API_KEY="${HYPERSTUDY_API_KEY}"
ROOM_ID="$1"
OUTPUT_DIR="data_${ROOM_ID}_$(date +%Y%m%d_%H%M%S)"

if [ -z "$API_KEY" ]; then
  echo "Error: HYPERSTUDY_API_KEY environment variable not set"
  exit 1
fi

if [ -z "$ROOM_ID" ]; then
  echo "Usage: $0 <room_id>"
  exit 1
fi

# Create output directory
mkdir -p "$OUTPUT_DIR"
cd "$OUTPUT_DIR"

echo "Downloading data for room: $ROOM_ID"

# Download each data type
for DATA_TYPE in events recordings chat sync ratings/continuous; do
  FILENAME=$(echo $DATA_TYPE | tr '/' '_')
  echo "  Downloading $DATA_TYPE..."

  curl -s -H "X-API-Key: $API_KEY" \\
    "https://api.hyperstudy.io/api/v3/data/$DATA_TYPE/room/$ROOM_ID?format=csv" \\
    > "${FILENAME}.csv"

  LINES=$(wc -l < "${FILENAME}.csv")
  echo "    Saved ${FILENAME}.csv ($LINES lines)"
done

echo "Download complete! Files saved to: $OUTPUT_DIR"
ls -lh
"""


def test_complete_download_script(shell, lab, tmp_path):
    finished = shell(COMPLETE_DOWNLOAD, arguments=(ROOM,))
    assert "Download complete!" in finished.stdout
    (folder,) = tmp_path.glob(f"data_{ROOM}_*")
    for data_type in ("events", "recordings", "chat", "sync", "ratings/continuous"):
        rows = table(folder / f"{data_type.replace('/', '_')}.csv")
        assert len(rows) == min(len(of_room(lab, data_type)), 1000) > 0
    assert len(list(folder.iterdir())) == 5


def test_recordings_snippet(python, lab):
    finished = python(
        """\
import requests

response = requests.get(
    'https://api.hyperstudy.io/api/v3/data/recordings/room/room_abc123',
    headers={'X-API-Key': API_KEY}
)

recordings = response.json()['data']
for rec in recordings:
    print(f"Recording: {rec['participantName']}")
    print(f"Download: {rec['downloadUrl']}")
    print(f"Duration: {rec['duration']/1000:.1f}s")
"""
    )
    assert finished.stdout.count(f"Download: {lab.storage_url}/") == len(of_room(lab, "recordings"))


CHAT_SNIPPET = """\
const response = await fetch(
  'https://api.hyperstudy.io/api/v3/data/chat/room/room_abc123',
  { headers: { 'X-API-Key': API_KEY } }
);

const result = await response.json();
const messages = result.data;

messages.forEach(msg => {
  console.log(`[${msg.onset/1000}s] ${msg.senderName}: ${msg.content}`);
});
"""


@needs("node")
def test_chat_snippet(lab, tmp_path):
    script = tmp_path / "example.mjs"
    script.write_text(put_in("const API_KEY = 'YOUR_API_KEY';\n" + CHAT_SNIPPET, lab, lab.key))
    finished = subprocess.run(["node", script], capture_output=True, timeout=60, check=True)
    messages = of_room(lab, "chat")
    assert messages
    for message in messages:
        assert f"s] {message['senderName']}: {message['content']}\n".encode() in finished.stdout


def test_fetching_all_data_for_a_participant(python):
    finished = python(
        """\
import requests

BASE_URL = 'https://api.hyperstudy.io/api/v3'
headers = {'X-API-Key': API_KEY}

# Fetch all data types
participant_id = 'user_xyz789'
room_id = 'room_abc123'

data_types = ['events', 'recordings', 'chat', 'ratings/continuous', 'sync']
all_data = {}

for data_type in data_types:
    response = requests.get(
        f'{BASE_URL}/data/{data_type}/participant/{participant_id}',
        headers=headers,
        params={'roomId': room_id}
    )

    if response.ok:
        result = response.json()
        all_data[data_type] = result['data']
        print(f"{data_type}: {len(result['data'])} records")
"""
    )
    counts = dict(line.removesuffix(" records").split(": ") for line in finished.stdout.splitlines())
    assert list(counts) == ["events", "recordings", "chat", "ratings/continuous", "sync"]
    assert all(int(count) > 0 for count in counts.values())


def test_filtering_by_time_range_in_python(python):
    finished = python(
        """\
from datetime import datetime, timedelta

# Get events from last 24 hours
end_time = datetime.now()
start_time = end_time - timedelta(hours=24)

response = requests.get(
    f'{BASE_URL}/data/events/experiment/exp_research_001',
    headers=headers,
    params={
        'startTime': start_time.isoformat(),
        'endTime': end_time.isoformat()
    }
)
print(response.status_code, response.json()['metadata']['pagination'])
"""
    )
    assert finished.stdout == "200 {'total': 0, 'returned': 0, 'hasMore': False}\n"


def test_exporting_as_csv_in_python(python, tmp_path):
    finished = python(
        """\
# Request CSV format directly
response = requests.get(
    f'{BASE_URL}/data/events/room/room_abc123',
    headers=headers,
    params={'format': 'csv'}
)

# Save to file
with open('events.csv', 'w') as f:
    f.write(response.text)

# Or load into pandas
import pandas as pd
from io import StringIO

df = pd.read_csv(StringIO(response.text))
print(len(df), df['id'].nunique())
"""
    )
    assert finished.stdout == "1000 1000\n"
    assert (tmp_path / "events.csv").stat().st_size > 100_000


def test_response_metadata(shell):
    metadata = json.loads(
        shell(
            """\
curl -H "X-API-Key: YOUR_KEY" "https://api.hyperstudy.io/api/v3/data/events/room/room_abc123?limit=1000&offset=0"
"""
        ).stdout
    )["metadata"]
    assert (metadata["dataType"], metadata["scope"], metadata["scopeId"]) == ("events", "room", ROOM)
    assert {"roomId": ROOM, "limit": 1000, "offset": 0}.items() <= metadata["query"].items()
    assert set(metadata["processing"]) == {"experimentStartedAt", "processingTimeMs", "enriched", "version"}
    assert metadata["processing"]["version"] == "3.0.0"
    assert set(metadata["pagination"]) == {"total", "returned", "hasMore", "nextOffset"}
