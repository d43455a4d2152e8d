# shellcheck shell=bash
toxiproxy_needs() { :; }
toxiproxy_url() { echo; }
toxiproxy_env() { :; }
