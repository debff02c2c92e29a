import threading

from demos.session.views import Mailbox, Views


def test_a_full_mailbox_drops_the_oldest_and_counts():
    box = Mailbox(2)
    for item in range(5):
        box.offer(item)
    assert box.dropped == 3
    assert [box.take(0), box.take(0), box.take(0)] == [3, 4, None]


def test_the_newest_empties_it():
    box = Mailbox(3)
    box.offer(1)
    box.offer(2)
    assert box.newest() == 2 and box.newest() is None


def test_who_waits_is_woken():
    box, got = Mailbox(1), []
    reader = threading.Thread(target=lambda: got.extend([box.take(), box.take()]))
    reader.start()
    box.offer("frame")
    box.close()
    reader.join()
    assert got == ["frame", None]


def test_everybody_sees_every_frame_as_far_as_there_is_room():
    views = Views()
    slow, quick = views.subscribe(1), views.subscribe(10)
    for number in range(4):
        views.show(number)
    assert slow.newest() == 3 and slow.dropped == 3
    assert [quick.take(0) for _ in range(4)] == [0, 1, 2, 3]


def test_a_closed_mailbox_is_forgotten():
    views = Views()
    gone, stays = views.subscribe(), views.subscribe()
    gone.close()
    views.show(1)
    assert gone.take(0) is None and stays.take(0) == 1
    assert views._boxes == [stays]
    views.close()
    assert stays.closed
