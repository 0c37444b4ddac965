"""File names after the files that went in."""

from handmade.artifacts.names import png_names


def test_a_picture_keeps_its_name():
    assert png_names(["me.jpg", "holidays/you.png"]) == ("me.png", "holidays-you.png")


def test_several_pictures_of_one_file_differ_in_their_endings():
    assert png_names(["me.jpg", "b.png"], ("", "-half")) == ("me.png", "me-half.png", "b.png", "b-half.png")


def test_files_that_differ_in_their_endings_only_stay_apart():
    assert png_names(["me.jpg", "me.png"]) == ("me-jpg.png", "me-png.png")
