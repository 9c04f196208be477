from core.image.remarks import Remarks


def test_notes_come_in_order_and_a_flag_of_each_kind_once():
    remarks = Remarks()
    remarks.add("a preview left aside")
    remarks.add("page 1 of 2 used", "one_plane")
    remarks.add("focal plane 3 of 5 used", "one_plane")
    assert remarks.notes == ("a preview left aside", "page 1 of 2 used", "focal plane 3 of 5 used")
    (flag,) = remarks.flags
    assert flag.code == "one_plane"
    assert "page 1 of 2 used" in flag.message
    assert not flag.severe
