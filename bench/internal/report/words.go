package report

import (
	"io"
	"os"
	"path/filepath"
)

// Num writes a figure as the tables do: three significant digits, or whole with commas from 1000 on.
func Num(v float64) string { return num(v) }

// Load says in a few words what the phase has done, as the tables do.
func (p *Phase) Load() string { return loadOf(p) }

// Words are the row's target, its figure and its figure per core, each with its unit, and a dash for what it does not have.
func (r *SLORow) Words() (limit, measured, core string) {
	limit, measured, core = "-", "-", "-"
	if r.Op != "" {
		limit = r.Op + " " + num(r.Target) + " " + r.Unit
	}
	if r.Verdict != LeftOut {
		measured = r.figure(r.Measured)
	}
	if r.PerCore != 0 {
		core = r.figure(r.PerCore)
	}
	return limit, measured, core
}

// WriteWhole writes a file whole or not at all, by way of a temporary file beside it: a reader never sees half of it.
func WriteWhole(path string, write func(w io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".ronbench-*.tmp")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
