from core.corrections.blind import BLIND_SHARE, is_offered_blind


def test_the_sample_is_fixed_and_of_the_size_that_is_said():
    names = [f"{number:064x}:0" for number in range(20_000)]
    chosen = [is_offered_blind(name) for name in names]
    assert chosen == [is_offered_blind(name) for name in names]
    assert 0.05 <= BLIND_SHARE <= 0.1
    assert abs(sum(chosen) / len(chosen) - BLIND_SHARE) < 0.01
