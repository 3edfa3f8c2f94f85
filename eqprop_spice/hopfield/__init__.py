"""The parts of Hopfield networks: layers and their graph, products and pools, block descent."""
