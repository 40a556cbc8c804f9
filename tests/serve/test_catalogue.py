"""Health, experiments and deployments, asked over loopback."""

from __future__ import annotations

EXPERIMENTS = [f'{{"id":"exp_{number}","name":"Study {number % 3}"}}'.encode() for number in range(120)]


async def test_health_says_that_the_server_is_there(serve_rows):
    client = await serve_rows()
    answer = await (await client.get("/api/v3/health")).json()
    assert (answer["status"], answer["data"]["status"]) == ("success", "healthy")


async def test_experiments_come_in_pages_of_50(serve_rows):
    client = await serve_rows(experiments=EXPERIMENTS)
    answer = await (await client.get("/api/v3/experiments?offset=50")).json()
    assert [row["id"] for row in answer["data"]] == [f"exp_{number}" for number in range(50, 100)]
    assert answer["metadata"]["pagination"] == {
        "total": 120,
        "returned": 50,
        "hasMore": True,
        "nextOffset": 100,
    }


async def test_experiments_are_searched(serve_rows):
    client = await serve_rows(experiments=EXPERIMENTS)
    answer = await (await client.get("/api/v3/experiments?search=Study 1&limit=2")).json()
    assert [row["id"] for row in answer["data"]] == ["exp_1", "exp_4"]
    assert answer["metadata"]["pagination"]["total"] == 40


async def test_shared_experiments_are_a_list_of_their_own(serve_rows):
    client = await serve_rows(experiments=EXPERIMENTS, shared=[b'{"id":"exp_theirs"}'])
    answer = await (await client.get("/api/v3/experiments/shared")).json()
    assert answer["data"] == [{"id": "exp_theirs"}]


async def test_one_experiment_comes_as_a_list_of_one(serve_rows):
    client = await serve_rows()
    for path in ("exp_1", "exp_1/config", "exp_1/export"):
        answer = await (await client.get(f"/api/v3/experiments/{path}")).json()
        assert answer["data"] == [{"id": "exp_1"}]
        assert answer["metadata"]["scopeId"] == "exp_1"


async def test_an_unknown_experiment_answers_404(serve_rows):
    client = await serve_rows()
    for path in ("exp_2", "exp_2/config", "exp_2/export"):
        answer = await client.get(f"/api/v3/experiments/{path}")
        assert (answer.status, (await answer.json())["error"]["message"]) == (404, "Experiment not found")


async def test_deployments_are_filtered_by_experiment_and_status(serve_rows):
    rows = [b'{"id":"dep_1","experimentId":"exp_1","status":"active"}', b'{"id":"dep_2","status":"completed"}']
    client = await serve_rows(deployments=rows)
    assert len((await (await client.get("/api/v3/deployments")).json())["data"]) == 2
    for narrowed in ("experimentId=exp_1", "status=active"):
        answer = await (await client.get(f"/api/v3/deployments?{narrowed}")).json()
        assert [row["id"] for row in answer["data"]] == ["dep_1"]


async def test_a_deployment_lists_its_sessions(serve_rows):
    client = await serve_rows()
    answer = await (await client.get("/api/v3/deployments/dep_1/sessions")).json()
    assert answer["data"] == [{"id": "room_1"}]
    assert answer["metadata"] == {"dataType": "sessions", "scope": "deployment", "scopeId": "dep_1"}
    assert (await client.get("/api/v3/deployments/dep_2/sessions")).status == 404
    assert (await (await client.get("/api/v3/deployments/dep_1")).json())["data"] == [{"id": "dep_1"}]
