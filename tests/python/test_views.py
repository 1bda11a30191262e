"""Large buffers of results as views of the memory that they came in."""

import array
import ctypes
import gc
import os
import signal

import auriga
import work
from support import Case

SIZE = 1_000_000


def kind_of(view):
    return type(view.obj).__name__


def doubles(n):
    return memoryview(array.array("d", range(n)))


def both(size):
    return memoryview(b"a" * size), [memoryview(b"b" * size)], b"c" * size


def collect(_):
    return gc.collect()


def numbers(n):
    import numpy

    return numpy.arange(float(n)).reshape(2, -1)


class Views(Case):
    def test_garbage_that_workers_inherit(self):
        """Views of a pool that is gone are in a cycle when the next one forks, whose workers collect it."""
        self.addCleanup(gc.enable)
        gc.disable()
        with auriga.Pool(2, views=True) as pool:
            views = pool.map(work.memory, [SIZE] * 4, 1)
        views.append(views)
        del views
        with auriga.Pool(2) as pool:
            self.assertGreater(max(pool.map(collect, range(8), 1)), 0)
            for got in [pool.apply_async(work.big, (SIZE,)) for _ in range(8)]:
                self.assertEqual(len(got.get()), SIZE)

    def test_memory_of_every_verb(self):
        with auriga.Pool(1, views=True) as pool, \
                auriga.ProcessPoolExecutor(1, views=True) as executor:
            got = [pool.apply(work.memory, (SIZE,)), executor.submit(work.memory, SIZE).result()]
            for size in (1, 3):
                got += pool.map(work.memory, [SIZE] * 3, size)
                got += pool.imap(work.memory, [SIZE] * 3, size)
                got += executor.map(work.memory, [SIZE] * 3, chunksize=size)
        self.assertEqual({kind_of(view) for view in got}, {"View"})
        gc.collect()  # the pools are gone, and their memory is not
        for view in got:
            self.assertTrue(view.readonly)
            self.assertEqual(view, b"x" * SIZE)

    def test_without_they_are_the_programs_own(self):
        with auriga.Pool(1) as pool:
            for size in (10, SIZE):
                view = pool.apply(work.memory, (size,))
                self.assertEqual((kind_of(view), view.tobytes()), ("bytes", b"x" * size))

    def test_small_ones_are_copied(self):
        with auriga.Pool(1, views=True) as pool:
            self.assertEqual(kind_of(pool.apply(work.memory, (1000,))), "bytes")

    def test_several_in_one_result(self):
        with auriga.Pool(1, views=True) as pool:
            a, (b,), c = pool.apply(both, (SIZE,))
        self.assertEqual((kind_of(a), kind_of(b), type(c)), ("View", "View", bytes))
        del a
        self.assertEqual((b, c), (b"b" * SIZE, b"c" * SIZE))

    def test_a_view_stays_as_it_is(self):
        with auriga.Pool(1, views=True) as pool:
            view = pool.apply(work.memory, (SIZE,))
            part = view[10:20]
            del view
            for _ in range(20):  # others come and go
                pool.apply(both, (SIZE,))
            os.kill(pool.apply(work.pid), signal.SIGKILL)
            pool.apply(both, (SIZE,))
            self.assertEqual(part, b"x" * 10)

    def test_formats_and_shapes(self):
        whole = memoryview(bytes(range(240))).cast("B", (4, 60))
        with auriga.Pool(1, views=True) as pool:
            for view in (whole, whole.cast("B").cast("i", (5, 12)), memoryview(b"abcdef")[::2]):
                got = pool.apply(work.same, (view,))
                self.assertEqual((got.format, got.shape, got), (view.format, view.shape, view))
            got = pool.apply(doubles, (20_000,))
            self.assertEqual((got.format, got[19_999]), ("d", 19_999.0))

    def test_nothing_in_it(self):
        with auriga.Pool(1) as pool:
            for view in (memoryview(b""), memoryview(array.array("d")), doubles(9)[3:3]):
                got = pool.apply(work.same, (view,))
                self.assertEqual((got.format, got.shape), (view.format, (0,)))

    def test_a_step_keeps_who_may_write(self):
        with auriga.Pool(1) as pool:
            for data in (b"abcdef", bytearray(b"abcdef")):
                got = pool.apply(work.same, (memoryview(data)[::2],))
                self.assertEqual((got, got.readonly), (b"ace", type(data) is bytes))

    def test_what_no_memoryview_can_be_made_of(self):
        class Pair(ctypes.Structure):
            _fields_ = [("a", ctypes.c_int), ("b", ctypes.c_double)]

        none = memoryview((ctypes.c_int * 0 * 5)())  # of no bytes, in two dimensions
        with auriga.Pool(1) as pool:
            for view in (memoryview((Pair * 3)()), memoryview((ctypes.c_int * 3)()), none):
                with self.assertRaisesRegex(TypeError, "cannot pickle a memoryview of "):
                    pool.apply(work.same, (view,))

    def test_they_travel_again(self):
        with auriga.Pool(1, views=True) as pool:
            view = pool.apply(work.memory, (SIZE,))
            self.assertEqual(pool.apply(work.same, (view,)), view)

    def test_numpy(self):
        try:
            import numpy
        except ImportError:
            self.skipTest("there is no numpy for this interpreter")
        with auriga.Pool(1, views=True) as pool:
            for got in (pool.apply(numbers, (SIZE,)), pool.map(numbers, [SIZE] * 2, 2)[1]):
                self.assertFalse(got.flags.writeable)
                self.assertIn("auriga-results", mapping_at(got.ctypes.data))
                self.assertEqual(got[1, -1], SIZE - 1)
        with auriga.Pool(1) as pool:
            got = pool.apply(numbers, (SIZE,))
            self.assertNotIn("auriga", mapping_at(got.ctypes.data))
            got[0, 0] = 5
            self.assertIsInstance(got, numpy.ndarray)


def mapping_at(address):
    """The line of the memory map that has it."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            low, high = line.split()[0].split("-")
            if int(low, 16) <= address < int(high, 16):
                return line
    return ""
