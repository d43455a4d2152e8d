# shellcheck shell=bash
elasticmq_needs() { :; }
elasticmq_url() { echo; }
elasticmq_env() { :; }
