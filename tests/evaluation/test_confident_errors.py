from dataclasses import replace

from moodline.evaluation.report import find_confident_errors
from tests.made_up import made_up


def test_errors_come_from_the_surest_down_and_never_a_right_one():
    _, _, predictions, conversations = made_up(("fusion",))
    errors = find_confident_errors(predictions, conversations, 1000)
    rows = {(row["conversation_id"], row["utterance_id"]): row for row in predictions.to_pylist()}
    assert len(errors) == sum(row["label"] != row["predicted"] for row in rows.values()) > 10
    assert [error["probability"] for error in errors] == sorted((e["probability"] for e in errors), reverse=True)
    for error in errors:
        row = rows[error["conversation_id"], error["utterance"].id]
        assert (error["label"], error["predicted"]) == (row["label"], row["predicted"])
        assert error["probability"] == row[f"p_{row['predicted']}"] >= error["probability_of_label"]
        assert error["probability_of_label"] == row[f"p_{row['label']}"]
    assert find_confident_errors(predictions, conversations, 3) == errors[:3]


def test_the_words_are_those_of_the_conversation_where_ids_come_again():
    """Utterance ids are unique in a conversation, not in a corpus."""
    _, _, predictions, conversations = made_up(("fusion",))
    told = [
        replace(one, utterances=tuple(replace(turn, words=f"{one.id} {turn.id}") for turn in one.utterances))
        for one in conversations
    ]
    for error in find_confident_errors(predictions, told, 1000):
        assert error["utterance"].words == f"{error['conversation_id']} {error['utterance'].id}"


def test_equals_stand_in_the_order_of_their_ids():
    _, _, predictions, conversations = made_up(("majority",))
    errors = find_confident_errors(predictions, conversations, 1000)
    ids = [(error["conversation_id"], error["utterance"].id) for error in errors]
    assert {error["probability"] for error in errors} == {1.0}
    assert ids == sorted(ids)
