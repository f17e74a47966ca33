// Package control speaks tor's control protocol (control-spec) over a unix socket or TCP: commands and their replies, asynchronous
// events, authentication, onion services and client authorization. It does what this project needs of tor and leaves out the rest;
// Conn.Command sends what has no method here.
//
// A Conn is one connection. A Link keeps one, and makes a new one when it breaks. Neither starts a tor process: package tor does.
package control
