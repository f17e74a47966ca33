package aesgcm

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestChoose: the environment variable names an implementation, and a wrong value is reported with what is allowed.
func TestChoose(t *testing.T) {
	best := Available()[0]
	for _, value := range []string{"", "auto"} {
		if i, err := choose(value); i != best || err != nil {
			t.Errorf("%q: %v, %v", value, i, err)
		}
	}
	for _, want := range Available() {
		if i, err := choose(want.String()); i != want || err != nil {
			t.Errorf("%v: %v, %v", want, i, err)
		}
	}
	for _, value := range []string{"AVX512", "sse", " go", "Implementation(7)"} {
		i, err := choose(value)
		var e *ImplementationError
		if i != best || !errors.As(err, &e) || e.Field != Environment || e.Value != value {
			t.Fatalf("%q: %v, %v", value, i, err)
		}
		for _, part := range []string{Environment, value, "auto", "go"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not name %q", err, part)
			}
		}
	}
}

// TestUnsupported: what this process cannot run is refused by name and by value.
func TestUnsupported(t *testing.T) {
	var e *ImplementationError
	for i := AVX512; i < implementations; i++ {
		if slices.Contains(Available(), i) {
			continue
		}
		if _, err := ParseImplementation(i.String()); !errors.As(err, &e) {
			t.Errorf("%v: %v", i, err)
		}
		if _, err := New(make([]byte, 16), i); !errors.As(err, &e) {
			t.Errorf("%v: %v", i, err)
		}
	}
	if _, err := New(make([]byte, 16), implementations); !errors.As(err, &e) {
		t.Errorf("a value that does not exist: %v", err)
	}
	if !Go.supported() || Auto.supported() {
		t.Error("Go must always be there, and Auto is none")
	}
}

// TestDefault: Auto makes what Default names.
func TestDefault(t *testing.T) {
	want, err := Default()
	if err != nil {
		t.Fatalf("%s is set to a wrong value: %v", Environment, err)
	}
	a, err := New(make([]byte, 32), Auto)
	if err != nil || a.Implementation() != want {
		t.Fatalf("%v instead of %v, %v", a.Implementation(), want, err)
	}
}
