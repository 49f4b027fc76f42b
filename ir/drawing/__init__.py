"""Pictures of graphs, made of their JSON form, which saved models have too; nothing is traced or run for them."""
