// Package registers lets tests of package aesgcm fill the vector registers before a function runs, and read them afterwards. Only amd64
// has any of it, and not with the build tag purego. It is for tests alone.
package registers
