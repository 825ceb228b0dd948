"""The package's own documentation is true: README, exported names, signatures."""

import inspect
import re
from datetime import timedelta
from pathlib import Path

import pytest

import ilab_memory
from batch import cases
from ilab_memory import UNSET, Config, ILabMemory, Store

README = (Path(__file__).parents[2] / "memory/README.md").read_text()

#: The documented signatures (part 1 of the contract).
DOCUMENTED = {
    "mem_session_start": "(user_id, *, conversation_id='', with_memories=True)",
    "mem_session_end": "(user_id, *, summary, conversation_id='', searchable=False)",
    "mem_session_summary": "(user_id, summary, *, conversation_id='')",
    "mem_save": "(user_id, content, *, type, title, topic_key=None, conversation_id='', pinned=False,"
    " expire_time=None, about=None, facts=(), queue_work=False)",
    "mem_search": "(user_id, query, *, limit=10, types=None, types_exclude=None)",
    "mem_recall": "(user_id, message, *, limit=10, previous=None, types=(), time_zone=None, meaning=None,"
    " hits_only=False)",
    "mem_related": "(user_id, message, *, limit=20, types=(), meaning=None)",
    "mem_embed": "(limit=None, *, user_id=None, rebuild=True)",
    "mem_unembedded": "(*, rebuild=True)",
    "mem_meaning": "(message)",
    "mem_get_observation": "(user_id, observation_id)",
    "mem_timeline": "(user_id, observation_id)",
    "mem_recent": "(user_id, session_id, limit=10, *, key_prefixes=None, max_bytes=1048576, conversation_id='')",
    "mem_update": "(user_id, observation_id, *, title=None, content=None, type=None, pinned=None, expire_time=UNSET)",
    "mem_delete": "(user_id, observation_id)",
    "mem_forget_observation": "(user_id, observation_id)",
    "mem_forget_observations": "(user_id, observation_ids)",
    "mem_facts": "(user_id, *, types=(), limit=50, before=None)",
    "mem_about": "(user_id, *, limit=100)",
    "mem_expire": "(*, retention=None, limit=1000)",
    "mem_list": "(user_id, *, types=(), conversation_id=None, limit=50, before=None)",
    "mem_sessions": "(user_id, *, conversation_id=None, limit=50, before=None)",
    "mem_import": "(user_id, items)",
    "mem_stats": "(user_id)",
    "mem_type_stats": "(user_id)",
    "mem_session_peek": "(user_id, *, conversation_id='', with_memories=True)",
    "mem_forget": "(user_id)",
    "mem_finish_forgetting": "()",
    "mem_pending_erasures": "()",
    "mem_export": "(user_id)",
    "mem_check": "()",
    "mem_size": "()",
    "mem_probe": "(*, room=0)",
    "mem_work_claim": "(*, owner, lease, turns=8, idle=timedelta(minutes=10))",
    "mem_work_turns": "(work, *, key_prefixes, limit=16, max_bytes=1048576)",
    "mem_work_summaries": "(work, session_ids)",
    "mem_work_renew": "(work, *, lease)",
    "mem_work_finish": "(work, turns, *, set=(), retire=(), summaries=(), tokens_used=0)",
    "mem_work_fail": "(work, *, not_before, is_dead=False, counts=True, tokens_used=0)",
    "mem_work_release": "(work)",
    "mem_work_stats": "()",
    "close": "()",
}


def signature(name: str) -> str:
    given = inspect.signature(getattr(ILabMemory, name))
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in given.parameters.values()][1:]
    shown = str(inspect.Signature(bare)).replace(repr(UNSET), "UNSET")
    return shown.replace(repr(timedelta(minutes=10)), "timedelta(minutes=10)")


@pytest.mark.slow
def test_every_python_block_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@cases("name", DOCUMENTED)
def test_signatures_are_the_documented_ones(name: str) -> None:
    assert signature(name) == DOCUMENTED[name]
    assert f"{name}{DOCUMENTED[name]}" in re.sub(r"\n +(?=\w)", " ", README)


def test_the_class_has_no_other_public_methods() -> None:
    public = {name for name in dir(ILabMemory) if not name.startswith("_")}
    assert public == {*DOCUMENTED, "from_path", "from_url", "config"}


def test_the_readme_names_every_setting_and_its_default() -> None:
    for name, field in Config.model_fields.items():
        row = re.search(rf"^\| `{name}` \| (.*?) \|", README, re.MULTILINE)
        assert row, name
        if isinstance(field.default, str):
            assert f'`"{field.default}"`' in row[1]
        elif isinstance(field.default, bool):
            assert row[1] == str(field.default)
        elif isinstance(field.default, int | float):
            assert row[1] == f"{field.default:g}"


def test_all_names_are_exported_and_documented() -> None:
    exported = {
        name for name, value in vars(ilab_memory).items() if inspect.isclass(value) or inspect.isfunction(value)
    }
    assert exported | {"UNSET"} == set(ilab_memory.__all__)
    for name in ilab_memory.__all__:
        assert inspect.getdoc(getattr(ilab_memory, name)), name


def test_the_readme_lists_the_public_names() -> None:
    (listed,) = re.findall(r"^The public names are (.*?)\.$", README, re.MULTILINE | re.DOTALL)
    assert re.findall(r"`(\w+)`", listed) == ilab_memory.__all__


def test_every_method_of_the_store_is_documented() -> None:
    for name in Store.__abstractmethods__:
        assert inspect.getdoc(getattr(Store, name)), name


def test_no_module_is_longer_than_400_lines_but_the_classes_with_a_method_per_call() -> None:
    longer = {"api.py": 560, "store.py": 460}
    for path in Path(ilab_memory.__file__).parent.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= longer.get(path.name, 400), path.name
