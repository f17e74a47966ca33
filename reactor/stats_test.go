package reactor

import (
	"fmt"
	"maps"
	"testing"
)

// TestKeyExchanges: names are counted up to the bound, what has none or finds no place is other, and a name that is known costs no memory.
func TestKeyExchanges(t *testing.T) {
	var k keyExchanges
	k.add("")
	want := map[string]uint64{"other": 3}
	for i := range maxKeyExchanges {
		k.add(fmt.Sprint("group ", i))
		want[fmt.Sprint("group ", i)] = 1
	}
	k.add("")
	k.add("one too many")
	known := "group 3"
	if n := testing.AllocsPerRun(9, func() { k.add(known) }); n != 0 {
		t.Errorf("%v allocations for a name that is known", n)
	}
	want[known] += 10 // AllocsPerRun runs it once more
	got := make(map[string]uint64)
	if k.addTo(got); !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
