package proc

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestParseKiBField(t *testing.T) {
	const status = "Name:\tronbench\nVmPeak:\t  999 kB\nVmRSS:\t   12345 kB\nThreads:\t7\n"
	for _, c := range []struct {
		in, name string
		want     int64
		ok       bool
	}{
		{status, "VmRSS", 12345 << 10, true},
		{status, "VmPeak", 999 << 10, true},
		{status, "VmSwap", 0, false},
		{status, "Threads", 0, false},
		{"VmRSS: x kB\n", "VmRSS", 0, false},
		{"VmRSS: -4 kB\n", "VmRSS", 0, false},
		{"VmRSS:\n", "VmRSS", 0, false},
		{"", "VmRSS", 0, false},
	} {
		got, err := parseKiBField(strings.NewReader(c.in), c.name)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q in %q: %d, %v", c.name, c.in, got, err)
		}
	}
}

func TestParseFDLimit(t *testing.T) {
	const head = "Limit                     Soft Limit           Hard Limit           Units\n"
	for _, c := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{head + "Max open files            1024                 1048576              files\n", 1024, true},
		{head + "Max open files            unlimited            unlimited            files\n", Unlimited, true},
		{head + "Max open files            many                 1                    files\n", 0, false},
		{head + "Max open files\n", 0, false},
		{head, 0, false},
	} {
		got, err := parseFDLimit(strings.NewReader(c.in))
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %d, %v", c.in, got, err)
		}
	}
}

func TestParseCPUModel(t *testing.T) {
	in := "processor\t: 0\nmodel name\t: Some CPU @ 3.00GHz\nmodel name\t: Other\n"
	if got := parseCPUModel(strings.NewReader(in)); got != "Some CPU @ 3.00GHz" {
		t.Errorf("got %q", got)
	}
	if got := parseCPUModel(strings.NewReader("flags: x\n")); got != "unknown" {
		t.Errorf("got %q", got)
	}
}

func TestCoreTimesAndBusy(t *testing.T) {
	a := "cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 5 0 5 40 0 0 0 0 0 0\ncpu1 5 0 5 30 10 0 0 0 5 0\nintr 1\n"
	b := "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 30 0 20 100 0 0 0 0 0 0\ncpu1 5 0 5 120 20 0 0 0 5 0\nintr 1\n"
	from, err := parseCoreTimes(strings.NewReader(a))
	if err != nil {
		t.Fatal(err)
	}
	to, err := parseCoreTimes(strings.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if len(from) != 2 || from[1].Busy != 10 || from[1].Total != 50 {
		t.Fatalf("parsed %+v", from)
	}
	got := BusyPct(from, to)
	if len(got) != 2 || got[0] != 40 || got[1] != 0 {
		t.Errorf("busy %v, want [40 0]", got)
	}
	if got := BusyPct(from, from); got[0] != 0 || got[1] != 0 {
		t.Errorf("no time has passed, busy %v", got)
	}
	if _, err := parseCoreTimes(strings.NewReader("cpu0 1 2 x 4 5 6\n")); err == nil {
		t.Error("a field that is no number was accepted")
	}
}

func TestRefNeedsItsCores(t *testing.T) {
	for cores, want := range map[int]string{1: "", 2: "", 7: "", 8: "Ref-A", 12: "", 16: "Ref-B", 32: ""} {
		if got := RefOf(cores); got != want {
			t.Errorf("%d cores are called %q, want %q", cores, got, want)
		}
	}
}

func TestTakeSelf(t *testing.T) {
	a, err := Take(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for sink, start := 0, time.Now(); time.Since(start) < 20*time.Millisecond; sink++ {
		_ = sink
	}
	b, err := Take(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if b.CPU <= a.CPU {
		t.Errorf("CPU time went from %s to %s while this process was busy", a.CPU, b.CPU)
	}
	if a.RSS <= 0 || b.FDs != a.FDs+1 {
		t.Errorf("RSS %d, descriptors %d then %d with one more open", a.RSS, a.FDs, b.FDs)
	}
	if n, err := listFDs(os.Getpid(), "/proc/self/fd"); err != nil || n != b.FDs {
		t.Errorf("%d descriptors one by one, %v; %d by the directory's size", n, err, b.FDs)
	}
	if l, err := FDLimit(os.Getpid()); err != nil || l < int64(b.FDs) && l != Unlimited {
		t.Errorf("soft limit %d, %v", l, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, pid := range []int{0, -1, 1 << 22} {
		if _, err := Take(pid); err == nil {
			t.Errorf("pid %d was measured", pid)
		}
	}
	if _, err := RaiseFDLimit(1 << 40); err == nil || !strings.Contains(err.Error(), "hard limit") {
		t.Errorf("a limit beyond every machine was granted: %v", err)
	}
	if n, err := RaiseFDLimit(16); err != nil || n < 16 {
		t.Errorf("16 descriptors: limit %d, %v", n, err)
	}
}
