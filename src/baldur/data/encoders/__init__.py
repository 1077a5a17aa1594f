"""Pretrained networks that turn raw items into features."""
